//go:build linux

package aufs

// programsDir is the directory of the module whose programs tests build.
const programsDir = ".."
