// Package aufs is a graph driver for the storage library that podman and buildah use. It mounts layers with aufs. On a kernel
// without aufs, it can mount the same layers with overlayfs. Importing the package registers the driver as "aufs".
//
// The driver exists as two packages that differ only in the storage library they use: github.com/seed-642172e2/aufs is for
// github.com/containers/storage, and github.com/seed-642172e2/aufs/podman for go.podman.io/storage. The code that both share is
// in internal/core.
//
// A store has one directory, its home (<graph root>/aufs). Three things in it are the same, byte for byte, as in a store of the
// aufs driver that the storage library had up to v1.59.1:
//
//	layers/<id>  the layer's ancestors, nearest first, one id a line; the layer exists when this file does
//	diff/<id>/   the layer's files
//	mnt/<id>/    an empty directory, where the layer is mounted
//
// Layers are in one of two forms. In aufs form, a file .wh.X deletes the name X of the layers below, and a file .wh..wh..opq
// makes a directory opaque. In overlay form, a character device 0/0 called X deletes the name X, and an extended attribute makes
// a directory opaque. A layer that an archive was unpacked into, as all image layers are, is in aufs form. A layer that was
// mounted writable is in the form of the backend that mounted it writable last. Each backend shows layers of both forms. Before it mounts
// a layer of the other form writable, it converts the layer. [Convert] brings all layers into aufs form.
//
// If a process is killed or the power fails, each layer is as it was before the operation, or as it is after it. A layer that is
// in use is not removed or converted; the error is a [*BusyError]. [Check] finds what is wrong with a store, and [Repair] mends
// it.
//
// The documents are in the directory docs of the repository:
//
//   - options.md: how to build and configure programs with the driver
//   - guarantees.md: what is promised, and what is not
//   - on-disk.md: the whole layout, the forms, and the order of writes
//   - in-tree.md: moving a store from the library's own driver, and back
//   - design.md: the packages, and where to find things in the code
package aufs
