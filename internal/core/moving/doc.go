// Package moving moves the layers of a store to the home of the storage library's overlay driver, and back. The files of a layer move by
// rename, so a move takes no room, and can go on after it was cut short.
package moving
