//go:build linux

package driver

import (
	"io"
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/quota"
	"github.com/seed-642172e2/aufs/internal/core/shift"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
)

// A Library is what the driver needs of a storage library. There are several storage libraries, and each program has one of them.
type Library struct {
	// Rootless says that the library regards this process as one without root's rights.
	Rootless bool
	// NewCounter returns a counter of the users of mount points.
	NewCounter func(isMounted func(path string) bool) Counter
	// FSName returns the library's name for the file system that the directory path is on, such as "nfs".
	FSName func(path string) string
	// SupportsDType reports whether the file system that path is on says of each name in a directory what kind of file it is. The directory
	// path must not be empty.
	SupportsDType  func(path string) (bool, error)
	FileInfoHeader layerdiff.HeaderFunc
	// Extractor unpacks archives.
	Extractor unpack.Extractor
	// ApplyLayer applies an archive to the tree at dir, where the archive's whiteouts delete files. It returns the size of what the archive
	// brought.
	ApplyLayer func(dir string, archive io.Reader, options layertar.UnpackOptions) (size int64, err error)
	// UserNamespace makes a user namespace, and returns it opened.
	UserNamespace backend.Namespace
}

// A Counter counts the users of mount points. If something is already mounted at a mount point when the Counter first sees it, the Counter
// counts one user more.
type Counter interface {
	Increment(path string) int
	Decrement(path string) int
}

// CreateOptions say how a layer is made.
type CreateOptions struct {
	// StorageOpt are options for this layer alone: size and inodes, which replace those of Config.
	StorageOpt map[string]string
	// IDMappings map root to the owner of the root directory of a layer without parents.
	IDMappings *idmap.Mappings
}

// GetOptions say how a layer is mounted.
type GetOptions struct {
	// Options, unless empty, replace the driver's own mount options.
	Options []string
	// MountLabel is the SELinux label.
	MountLabel string
	// IDs say which owners the mount shows.
	IDs shift.Request
	// Volatile says that a power cut may destroy what is written to the layer. If the backend cannot make use of that, Get mounts the layer
	// as always.
	Volatile bool
}

// ApplyOptions say how an archive is applied to a layer.
type ApplyOptions struct {
	// Diff is the archive.
	Diff io.Reader
	// MountLabel is the SELinux label of the mount, if the archive is applied through one.
	MountLabel        string
	Mappings          *idmap.Mappings
	IgnoreChownErrors bool
	ForceMask         *fs.FileMode
}

// Config says how a driver works.
type Config struct {
	Backend backend.Name
	Mount   backend.MountOptions
	// Limits are the quotas of the layers that are made to be mounted writable.
	Limits quota.Limits
	// IgnoreChownErrors says that an archive's file whose owner cannot be set belongs to whoever unpacks it.
	IgnoreChownErrors bool
	// SkipMountHome says that the driver does not make home a private mount.
	SkipMountHome bool
	// RunRoot is the directory where the storage library counts mounts, or "".
	RunRoot string
	// ImageStores are the graph roots of the additional image stores, in the order in which they are searched.
	ImageStores []string
	Library     Library
}
