//go:build linux

package differential

import "io"

// A Driver is what a run needs of a graph driver. Package library makes a
// Driver from a driver of the storage library.
type Driver interface {
	// Create makes a layer for ApplyDiff. CreateReadWrite makes a layer that is
	// written to where Get mounts it.
	Create(id, parent string) error
	CreateReadWrite(id, parent string) error
	// Get mounts a layer, until Put.
	Get(id string) (dir string, err error)
	Put(id string) error
	// Diff returns an archive of what a layer has and its parent does not have.
	Diff(id, parent string) (io.ReadCloser, error)
	ApplyDiff(id, parent string, diff io.Reader) error
	Changes(id, parent string) ([]Change, error)
	// Cleanup ends the use of the store.
	Cleanup() error
}

// A Change is a path at which a layer differs from its parent.
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

// A Subject is a driver that Run compares with the model.
type Subject struct {
	// Open makes or opens the store at home with the driver under test.
	Open func(home string) (Driver, error)
	// Other is the driver on its other backend, which opens the same stores, or
	// nil if there is none.
	Other *Subject
	// Convert converts all layers of the store at home, none of which is
	// mounted, to the form in which they were unpacked. If it is nil, Run
	// leaves that out.
	Convert func(home string) error
	// ReadOnly puts layers of the store at home on a read-only mount until undo
	// is called. If it is nil, Run leaves that out.
	ReadOnly func(home string, ids []string) (undo func() error, err error)
	// SplitsLinks says that a file that is copied up under one of its names is
	// no longer the file of its other names, as on overlayfs.
	SplitsLinks bool
	// TouchesDirs says that a directory gets a new time of modification when it
	// is copied up for something below it, as on aufs. Run gives the
	// operation's time to the directories above all names of the file, because
	// aufs may copy the file up under any of them.
	TouchesDirs bool
	// RenameTouches says that a directory may get a new time of modification
	// when it is renamed. Aufs makes a directory opaque if it takes the place of
	// a whiteout. Overlayfs exchanges the two, and xfs gives a directory that it
	// exchanges a new time (xfs_cross_rename). Run gives a renamed directory the
	// operation's time.
	RenameTouches bool
	// LosesXattrs says that an attribute becomes empty when it is removed, or
	// that copy-up loses an empty attribute, as with aufs in Linux 6.1. Run
	// leaves out operations that remove an attribute, set an empty one, or make
	// the kernel remove a file's capabilities.
	LosesXattrs bool
	// LacksXattrs says that there are no attributes at all, as with an aufs
	// that was built without them. Run leaves out all operations on them.
	LacksXattrs bool
}

// Counts counts what was done in a run.
type Counts struct {
	Layers, Ops int
	// MovedByCopy is how many times a directory could not be renamed, with
	// EXDEV, and was copied and removed instead.
	MovedByCopy int
	// CopiedUpFirst is how many times a file could not be truncated, with
	// EINVAL, and had to be copied up by another operation first. The aufs of
	// Linux 6.1 fails like this where the file system can share blocks, as xfs
	// can: it copies up only the part that is to stay, and that part cannot be
	// shared if it ends within a block.
	CopiedUpFirst int
	// LeftOut is how many operations were left out because of
	// Subject.LosesXattrs or LacksXattrs. Ops does not count them.
	LeftOut int
	// ByOther is how many mounts Subject.Other made, Conversions is how many
	// times Subject.Convert was called, and ReadOnly is how many layers were
	// made on top of layers on a read-only mount.
	ByOther, Conversions, ReadOnly int
}

// Add adds the counts of another run.
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
