// Package aufs is a graph driver for the storage library of podman and buildah, that mounts layers with aufs, or, on a kernel
// without it, the same layers with overlayfs. Importing the package registers the driver as "aufs".
//
// The driver exists as two packages that differ only in the storage library they use: github.com/seed-642172e2/aufs is for
// github.com/containers/storage, and github.com/seed-642172e2/aufs/podman for go.podman.io/storage. What they have in common is in
// internal/core; docs/design.md says what is where.
//
// # On disk
//
// A store has one directory, its home (<graph root>/aufs). Three things in it are shared with the driver of the same
// name that the storage library had up to v1.59.1, byte for byte:
//
//	layers/<id>  the layer's ancestors, nearest first, an id a line; empty for a layer without any
//	diff/<id>/   the layer's files, with whiteouts in aufs form, unless overlay/form/<id> says otherwise
//	mnt/<id>/    an empty directory, where the layer is mounted
//
// An id is any file name without a line feed, and without a carriage return at its end. New layers are refused ids that
// hold one of ",:=", which aufs cannot parse in the path of a branch, or end in "-removing", which the library's driver
// takes for rubbish. Empty lines in layers/<id> count for nothing; an id that is there twice, or is the layer's own, is an
// error.
//
// In aufs form (aufs(5)), a file .wh.X deletes the name X of the layers below. A file .wh..wh..opq in a directory makes
// it opaque: what layers below have in it is hidden. At the root of a layer that was mounted writable, .wh..wh.aufs,
// .wh..wh.orph/ and .wh..wh.plnk/ are aufs's own. What a container has made under these names on overlayfs, and aufs cannot
// use, is <name>.aside-<random> from the next mount with aufs on; no mount and no archive shows it.
//
// The driver keeps the rest to itself, and makes it when it is needed:
//
//	tmp/<name>/         scratch directories, each locked by its owner for as long as it lives
//	overlay/form/<id>   a symbolic link that says that the layer is in overlay form; see internal/core/store/forms.go
//	overlay/shadow/<id>/<digest>/  above/ and below/, directories of whiteouts that stand beside the layer in mounts; a cache
//	overlay/known/<form>/<id>   a symbolic link that says what mounts have to know of the layer; a cache; see internal/core/shadow/known.go
//	overlay/work/<id>/  overlayfs's work directory for the layer
//	overlay/watch/<id>/ the upper directory of read-only overlay mounts of the layer, by which it is found out if they are alive
//	overlay/aufs/<id>   a symbolic link to what aufs calls the layer's mounts, if there is no run root; see internal/core/inuse/notes.go
//	overlay/runroot     a symbolic link to the run root that the store was last used with
//	kept/<id>/          what an archive brought and the layer does not show, a file for each content; see internal/core/kept/kept.go
//	overlay/owners/<id>          the owners of the layer's files are being changed, and how; empty: they were; see internal/core/owners/owners.go
//	overlay/lock/<id>   an empty file, whose lock (flock) is the layer's; overlay/store.lock and overlay/mounts.lock: see internal/core/store/lock.go
//	overlay/empty/      an empty directory
//
// and in the run root, which has nothing of an earlier boot,
//
//	aufs/<id>           a symbolic link to what aufs calls the layer's mounts
//	aufs-shadow/<id>/   as overlay/shadow/<id>/, where the store is read-only or full
//
// Home can be a mount point, and so can diff and mnt in it; Init refuses all others in the store. Files are renamed and linked inside of one
// mount only. So, if diff is a mount point, there is
//
//	diff/aufs-removing/  tmp/, kept/ and, of overlay/, shadow/, work/ and watch/: in place of those in home
//
// No layer can have that name, and the library's driver would remove what has such a name. When diff becomes a mount point, or is none any
// more, caches are made again.
//
// # The aufs backend
//
// The branches of a stack are the layer's directory, "rw", and those of its ancestors, "ro+wh". An ancestor that has an
// opaque directory becomes two: its directory as "ro", which means that its marks do not count, and below it a shadow,
// "ro+wh", with the layer's whiteouts, and one for each name that its opaque directories hide. aufs by itself goes
// by the lowest mark, where a directory is opaque in several branches, and shows what the upper ones hide.
//
// # The overlay backend
//
// The layer's directory is the upper directory, and those of its ancestors are the lower ones.
//
// # Forms
//
// A layer that an archive was unpacked into is in aufs form, on both backends. So image layers always are. A layer that was mounted
// writable is in the form of the backend that mounted it last. In overlay form, whiteouts are character devices 0/0, and opaque
// directories have an extended attribute.
//
// An ancestor in the other form is mounted as it is, between two shadows: above it a directory of whiteouts that hide its marks, and
// below it one that does what its marks say. An ancestor without marks has none. No mount changes an ancestor, or links to its files.
//
// A layer in the other form that is to be mounted writable, and has marks, is converted in place. So is each layer by [Convert], after which
// the storage library's own aufs driver can use the store. A layer is not converted while a mount of it, or of a layer on top of it, is alive,
// in whichever mount namespace: the error is a [*BusyError]. The kernel is asked for that: by a trial mount with index=on, which it
// refuses with EBUSY while the first mount of the layer is alive, and by a look through /proc/*/mountinfo; of aufs, by sysfs.
//
// Some things that a container can do on overlayfs cannot be written down in aufs form: to delete a file of an ancestor
// whose name has more than 251 bytes, or to put a directory where a whiteout would be. Such a layer stays in overlay form. It
// works with the overlay backend, and its archive has all of it; aufs cannot mount it writable, and says why.
//
// What an overlay mount does not tell is which of two names of a file that was copied up were one: they are two files
// from then on.
//
// # Order of writes
//
// A layer exists when its layers/<id> does. Create makes diff/<id> and mnt/<id>, writes what is to be in layers/<id>
// to a temporary file, fsyncs that and diff/, renames the file and fsyncs layers/. Remove unmounts, unlinks layers/<id>, fsyncs layers/,
// moves all else to a scratch directory and deletes it there; DeferredRemove leaves that deletion to its caller. If the layer's directory
// cannot be moved, layers/<id> is written again. Whatever is
// found without a layers/<id> is what a crash has left, and is removed by the next Init, or by a Create of that id; but for lost+found,
// which the root of a disk has.
//
// ApplyDiff unpacks into a scratch directory, syncs the file system (syncfs(2)), exchanges the directory with diff/<id>,
// which is empty, and fsyncs diff/. A layer has all of the archive or nothing of it, and once ApplyDiff has returned it is
// on the disk. A layer that has something already, or is mounted, is changed in place and synced after that: what is
// interrupted there has a part of it.
//
// Content that the archive brought and the layer does not show, such as that of a whiteout, or of a file that a later entry replaces, is in
// kept/<id>/, which gets there before the layer's directory does. What was there for other content is dropped before any of this.
// Where a child extracts the archive (aufs.ignore_chown_errors, no chroot(2), a log with hooks), and of more than a million names, what
// later entries replace is not kept, and the library cannot give such an archive back byte for byte.
//
// The record of a layer's form is made durable before the first overlay mount that can write to the layer. A conversion records, durably, that
// it began; it can be repeated from wherever it was cut short. What it has changed is on the disk before the record says that it ended.
//
// UpdateLayerIDMap writes down what it is going to do, durably, before it changes anything. If it is cut short, the layer has files with
// old owners and files with new ones; the next call finishes it.
//
// A mount that takes more than one system call is put together where nobody sees it, or, on a kernel without fsopen(2), in a scratch
// directory, and gets to mnt/<id> when it is whole.
//
// So a process that is killed, and a power cut, leave each layer as it was before the operation, or as it is after it. What
// is not promised: that what a container has written is more durable than on the file system that the store is on; that,
// on aufs, all names of a file still show the same if the host goes down before the flush (see below); and that a layer
// whose removal was cut short is gone before the next Init.
//
// # Pseudo-links
//
// When a file with several names is written to by one of them, aufs copies it up under that name, and remembers the others
// for as long as the mount lives. Before it unmounts, the driver has aufs give each name its hard link, as auplink(8) of
// aufs-tools does; if that fails, the mount stays, and the error says so. Nobody else can use the mount meanwhile. Diff and Changes
// of a mounted layer have that done as well, but while its users go on.
package aufs
