// Package fsutil opens, reads, walks, locks and removes files and directories, and makes them durable. It knows nothing of layers.
//
// A container may change a tree while the driver works in it. So files are named from open directories, and no symbolic link leads out of
// the tree.
package fsutil
