//go:build linux

package main

// A difference is a line that only one driver prints in a step, as differ returns it, with the reason.
type difference struct{ step, line, why string }

const (
	madeAgain = "the container removed the directory and made it again, which the overlay driver reports as deleted"
	ownOwner  = "the root user of a container with id maps made or wrote the file; with the overlay driver, a committed file keeps the owner that it has on the host"
)

// expected has each line that must differ, as often as it must.
var expected = []difference{
	// Of the container, and of its image.
	{"diff and commit", "only aufs prints C /home", madeAgain},
	{"diff and commit", "only aufs prints C /home", madeAgain},
	{"diff and commit", "only overlay prints D /home", madeAgain},
	{"diff and commit", "only overlay prints D /home", madeAgain},
	{"without root", "only aufs prints C /var", madeAgain},
	{"without root", "only overlay prints D /var", madeAgain},
	{"id maps", "only aufs prints 0:0", ownOwner},
	{"id maps", "only overlay prints 200000:200000", ownOwner},
	{"buildah", "only aufs prints C /var", madeAgain},
	{"buildah", "only overlay prints D /var", madeAgain},
	// Of a file that was made, and of one that was written.
	{"buildah", "only aufs prints 0:0", ownOwner},
	{"buildah", "only aufs prints 0:0", ownOwner},
	{"buildah", "only overlay prints 100000:100000", ownOwner},
	{"buildah", "only overlay prints 100000:100000", ownOwner},
}
