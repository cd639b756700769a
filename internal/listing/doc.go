// Package listing reads a directory tree into entries that are the same for
// equal trees, whichever driver shows them and in whichever process, and
// writes them as text.
package listing
