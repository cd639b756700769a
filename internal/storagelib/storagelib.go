//go:build linux

// Package storagelib wraps the functions of a storage library that the driver needs, because internal/core names no
// library. There is one such package for each library.
package storagelib

import (
	"fmt"
	"io"
	"os"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/chrootarchive"
	libidmap "github.com/containers/storage/pkg/idmap"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
)

// Maps returns the driver's mappings for the ranges in the library's options of a mount.
func Maps(uids, gids []idtools.IDMap) *idmap.Mappings {
	return &idmap.Mappings{UIDs: convert[idmap.Map](uids), GIDs: convert[idmap.Map](gids)}
}

// Mappings converts the library's mappings to the driver's. A nil m becomes mappings that leave ids as they are.
func Mappings(m *idtools.IDMappings) *idmap.Mappings {
	if m == nil {
		return &idmap.Mappings{}
	}
	return &idmap.Mappings{UIDs: convert[idmap.Map](m.UIDs()), GIDs: convert[idmap.Map](m.GIDs())}
}

// IDMappings is the inverse of Mappings.
func IDMappings(m *idmap.Mappings) *idtools.IDMappings {
	return idtools.NewIDMappingsFromMaps(convert[idtools.IDMap](m.UIDs), convert[idtools.IDMap](m.GIDs))
}

// convert converts ranges of one type to the other. A nil list, which maps nothing, stays nil.
func convert[To, From idmap.Map | idtools.IDMap](list []From) []To {
	if list == nil {
		return nil
	}
	to := make([]To, 0, len(list))
	for _, m := range list {
		to = append(to, To(m))
	}
	return to
}

// TarOptions returns the library's options for unpacking a layer. With these options, the library leaves the names of
// whiteouts as they are, because aufs uses the same names.
func TarOptions(o layertar.UnpackOptions) *archive.TarOptions {
	return &archive.TarOptions{
		UIDMaps:           convert[idtools.IDMap](o.Mappings.UIDs),
		GIDMaps:           convert[idtools.IDMap](o.Mappings.GIDs),
		IgnoreChownErrors: o.IgnoreChownErrors,
		ForceMask:         o.ForceMask,
		InUserNS:          o.InUserNS,
	}
}

// Unpack extracts an archive into dir, in the calling thread.
func Unpack(source io.Reader, dir string, o layertar.UnpackOptions) error {
	return archive.Unpack(source, dir, TarOptions(o))
}

// UnpackInChild extracts an archive into dir, in a child process that has dir as its root directory.
func UnpackInChild(source io.Reader, dir string, o layertar.UnpackOptions) error {
	return chrootarchive.UntarUncompressed(source, dir, TarOptions(o))
}

// ApplyLayer applies the archive of a layer to the tree at dir, in a child process, and returns the size in bytes of
// the files in the archive.
func ApplyLayer(dir string, source io.Reader, o layertar.UnpackOptions) (int64, error) {
	return chrootarchive.ApplyUncompressedLayer(dir, source, TarOptions(o))
}

// UserNamespace makes a user namespace, and returns it opened. It lives for as long as it is open.
func UserNamespace(m *idmap.Mappings) (*os.File, error) {
	pid, end, err := libidmap.CreateUsernsProcess(convert[idtools.IDMap](m.UIDs), convert[idtools.IDMap](m.GIDs))
	if err != nil {
		return nil, err
	}
	defer end()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
}

// FSName returns the name of the file system that the directory path is on.
func FSName(path string) string {
	// The library looks at the directory that contains the path it is given.
	magic, err := graphdriver.GetFSMagic(path + "/.")
	if err != nil {
		return "an unknown file system (" + err.Error() + ")"
	}
	if name, ok := graphdriver.FsNames[magic]; ok {
		return name
	}
	return fmt.Sprintf("a file system with magic number %#x", uint32(magic))
}

// Counter returns a counter of the users of mount points.
func Counter(isMounted func(path string) bool) *graphdriver.RefCounter {
	return graphdriver.NewRefCounter(checker(isMounted))
}

// checker tells the library's counter whether something is mounted at a path.
type checker func(path string) bool

// IsMounted is part of graphdriver.Checker.
func (c checker) IsMounted(path string) bool { return c(path) }
