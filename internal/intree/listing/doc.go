// Package listing writes a directory tree as text that is the same for equal
// trees, whichever driver shows them and in whichever process.
package listing
