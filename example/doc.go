// Command example shows the aufs graph driver at work, and checks it.
//
// It makes an image of several layers from a real directory tree, mounts a
// container on it, edits the container, exports the changes, applies the export
// as a new layer, and compares the two trees file by file. A third tree shows the
// correct result: it gets the same layers and the same edits in a plain
// directory, without a union file system. Comparing with the third tree catches a
// driver that makes the same mistake twice.
//
// The commands check, convert and move work on the stores of other programs.
//
// It reaches the driver as any program does: through the storage library's
// Store and a blank import of the driver's package. It needs Linux and root.
package main
