//go:build linux

package driver

import (
	"errors"
	"io"
	"io/fs"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
)

// Library is what the driver has a storage library do, of which there are several: each program has its own.
type Library struct {
	// Rootless: the library takes this process for one without the rights of root.
	Rootless bool
	// NewCounter makes a counter of the users of mount points.
	NewCounter func(isMounted func(path string) bool) Counter
	// FSName is what the library calls the file system that path is on.
	FSName         func(path string) string
	FileInfoHeader layerdiff.HeaderFunc
	// Extractor unpacks archives.
	Extractor unpack.Extractor
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

// Config is how a driver is to work.
type Config struct {
	Backend backend.Name
	Mount   backend.MountOptions
	// IgnoreChownErrors: files of an archive whose owner cannot be set belong to whoever unpacks them.
	IgnoreChownErrors bool
	// SkipMountHome: the driver does not make home a private mount.
	SkipMountHome bool
	// RunRoot is where the storage library counts mounts, or "".
	RunRoot string
	Library Library
}

// ErrNoQuotas says that sizes of layers cannot be limited.
var ErrNoQuotas = errors.New("this driver does not support quotas")
