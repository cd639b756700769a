// Package shift decides which layers of a mount are to show other owners than they have on the disk. The owners in the archives of images are
// ids in a container. If a container has a user namespace of its own, its processes have other ids on the host. An idmapped mount of an image's
// layers then shows their files with the ids that the container's processes have, and nothing is copied. Files of the container have these
// ids on the disk. The package also keeps the records of whose ids a layer has on the disk, so that no owner is shifted twice.
package shift
