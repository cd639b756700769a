// Package fsutil opens, reads, walks, locks and removes files and directories, and makes them durable. It knows nothing of layers.
//
// A container may be changing a tree while the driver works in it. So the functions name files relative to open directories, and no
// symbolic link can lead out of the tree.
package fsutil
