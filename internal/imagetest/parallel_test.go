//go:build linux && !race

package imagetest

// parallelCopies is how many layers are copied at once, as by default.
const parallelCopies = 6
