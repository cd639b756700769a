//go:build linux && race

package imagetest

// parallelCopies is how many layers are copied at once. The storage library's
// LockFile looks at its own state without its mutex, which is what the race
// detector would find.
const parallelCopies = 1
