//go:build linux

package differential

import "io"

// A Driver is a graph driver, as far as a run has to do with it. Package library
// makes one of a driver of the storage library.
type Driver interface {
	// Create makes a layer for ApplyDiff, CreateReadWrite one to be written to
	// where Get mounts it.
	Create(id, parent string) error
	CreateReadWrite(id, parent string) error
	// Get mounts a layer, until Put.
	Get(id string) (dir string, err error)
	Put(id string) error
	// Diff is an archive of what a layer has and its parent has not.
	Diff(id, parent string) (io.ReadCloser, error)
	ApplyDiff(id, parent string, diff io.Reader) error
	Changes(id, parent string) ([]Change, error)
	// Cleanup ends the use of the store.
	Cleanup() error
}

// A Change is a path at which a layer is not as its parent.
type Change struct {
	Path string // begins with "/"
	Kind Kind
}

// A Kind is what has happened at a path.
type Kind string

// The kinds of changes.
const (
	Added    Kind = "A"
	Modified Kind = "C"
	Deleted  Kind = "D"
)

// A Subject is what is compared with the model.
type Subject struct {
	// Open makes or opens the store at home with the driver under test.
	Open func(home string) (Driver, error)
	// Other is the driver on its other backend, which opens the same stores; nil: there is none.
	Other *Subject
	// Convert brings all layers of the store at home, which nobody has mounted, into the form that they were unpacked in; nil: that is
	// left out.
	Convert func(home string) error
	// ReadOnly has layers of the store at home be on a read-only mount until undo is called; nil: that is left out.
	ReadOnly func(home string, ids []string) (undo func() error, err error)
	// SplitsLinks says that a file that is copied up under one of its names
	// is no longer the file that its other names have, as on overlayfs.
	SplitsLinks bool
	// TouchesDirs says that a directory that is copied up, for something below
	// it, or that is renamed, has a new time of modification, as on aufs, which
	// may copy a file up under any of its names, and makes a directory opaque
	// that takes the place of a whiteout. Run gives those directories the
	// operation's time.
	TouchesDirs bool
	// LosesXattrs says that an attribute that is removed is empty instead, or
	// that copy-up loses an empty one, as aufs does it in Linux 6.1. Run leaves
	// operations out that remove an attribute, or set an empty one, or make
	// the kernel remove a file's capabilities.
	LosesXattrs bool
	// LacksXattrs says that there are none at all, as with an aufs that was built
	// so. Run leaves all operations out that are about them.
	LacksXattrs bool
}

// Counts is what was done in a run.
type Counts struct {
	Layers, Ops int
	// MovedByCopy is how many times a directory could not be renamed, with
	// EXDEV, and was copied and removed.
	MovedByCopy int
	// CopiedUpFirst is how many times a file could not be truncated, with
	// EINVAL, and was copied up by something else before. The aufs of Linux 6.1
	// fails so where the file system can share blocks, as xfs can: it copies up
	// no more than what is to stay, and that cannot be shared if it ends within
	// a block.
	CopiedUpFirst int
	// LeftOut is how many operations were not carried out for
	// Subject.LosesXattrs or LacksXattrs. Ops does not have them.
	LeftOut int
	// ByOther is how many mounts Subject.Other has made, Conversions how many times Subject.Convert was called, and ReadOnly how many
	// layers were made on top of others that could not be written to.
	ByOther, Conversions, ReadOnly int
}

// Add adds what was done in another run.
func (c *Counts) Add(other Counts) {
	c.Layers += other.Layers
	c.Ops += other.Ops
	c.MovedByCopy += other.MovedByCopy
	c.CopiedUpFirst += other.CopiedUpFirst
	c.LeftOut += other.LeftOut
	c.ByOther += other.ByOther
	c.Conversions += other.Conversions
	c.ReadOnly += other.ReadOnly
}
