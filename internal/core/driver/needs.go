//go:build linux

package driver

import (
	"archive/tar"
	"io"
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
)

// Library is what the driver has a storage library do, of which there are several: each program has its own.
type Library struct {
	// Rootless: the library takes this process for one without the rights of root.
	Rootless bool
	// NewCounter makes a counter of the users of mount points.
	NewCounter func(isMounted func(path string) bool) Counter
	// FSName is what the library calls the file system that path is on.
	FSName func(path string) string
	// FileInfoHeader is the header of a file in an archive. target is that of a symbolic link.
	FileInfoHeader func(name string, info fs.FileInfo, target string) (*tar.Header, error)
	// Unpack extracts an archive into the directory dir, which is the root directory of the calling thread, or below it.
	Unpack func(archive io.Reader, dir string, options layertar.UnpackOptions) error
	// UnpackInChild extracts an archive into the directory dir, in a child that has it as its root directory.
	UnpackInChild func(archive io.Reader, dir string, options layertar.UnpackOptions) error
	// ApplyLayer changes the tree at dir by an archive, whose whiteouts delete, and returns the size of what it brought.
	ApplyLayer func(dir string, archive io.Reader, options layertar.UnpackOptions) (size int64, err error)
}

// Counter counts the users of mount points. One that is mounted already when it is first asked about has one more.
type Counter interface {
	Increment(path string) int
	Decrement(path string) int
}

// CreateOptions say how a layer is made.
type CreateOptions struct {
	// StorageOpt are options of the layer, of which the driver has none.
	StorageOpt map[string]string
	// IDMappings have the owner of the root directory of a layer without parents.
	IDMappings *idmap.Mappings
}

// GetOptions say how a layer is mounted.
type GetOptions struct {
	// Options stand in place of those of the driver.
	Options []string
	// MountLabel is the SELinux label.
	MountLabel string
}

// ApplyOptions say how an archive is applied to a layer.
type ApplyOptions struct {
	// Diff is the archive.
	Diff io.Reader
	// MountLabel is the SELinux label of a mount that it goes through.
	MountLabel        string
	Mappings          *idmap.Mappings
	IgnoreChownErrors bool
	ForceMask         *fs.FileMode
}

// A Change is a file that a layer changes in what its ancestors show.
type Change struct {
	// Path begins with a '/'.
	Path string
	Kind ChangeKind
}

// String is the letter of the kind, and the path.
func (c Change) String() string { return string("CAD"[c.Kind]) + " " + c.Path }

// ChangeKind says what happened to a file.
type ChangeKind int

// The kinds of changes.
const (
	ChangeModify ChangeKind = iota
	ChangeAdd
	ChangeDelete
)

// Usage is what a layer takes on the disk.
type Usage struct {
	// Size is how many bytes are in its files, and Inodes how many files there are.
	Size, Inodes int64
}
