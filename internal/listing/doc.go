// Package listing reads a directory tree into entries, and writes them as text.
// Equal trees have equal entries, whichever driver shows them, and in whichever
// process.
package listing
