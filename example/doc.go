// Command example shows the aufs graph driver at work, and checks it.
//
// It makes an image of several layers out of a real directory tree, mounts a
// container on it, edits the container, exports what the edits changed, applies
// the export as a new layer, and compares the two trees file by file. A third
// tree, which saw the same layers and the same edits on a plain directory and no
// union file system at all, says what the right answer is: a driver that is wrong
// in the same way twice is caught by it.
//
// It reaches the driver as any program does, by the storage library's Store and
// a blank import of the driver's package. It needs Linux and root.
package main
