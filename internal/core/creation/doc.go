// Package creation makes new layers: it knows which ancestors a layer gets, which mode and owner its root directory
// gets, and in which order its files are made.
package creation
