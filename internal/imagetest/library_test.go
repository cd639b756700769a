//go:build linux

package imagetest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage"
)

// isNewLibrary says that the tests run with go.podman.io/storage.
var isNewLibrary = strings.HasPrefix(reflect.TypeFor[storage.DiffOptions]().PkgPath(), "go.podman.io/")

var (
	// libraryAppliesRoot says that this storage library gives a layer's root directory the owner and the mode that an
	// archive has for it.
	libraryAppliesRoot = isNewLibrary
	// libraryStages says that this storage library can unpack layers without the lock of the store.
	libraryStages = isNewLibrary
)

// TestDefaultMountOptions tests a part of the newer library that refuses options with the name of this driver; docs/options.md says to
// leave the name out. The older library knows no options of this driver.
func TestDefaultMountOptions(t *testing.T) {
	var want []string
	if isNewLibrary {
		want = []string{"nodev", "noexec"}
	}
	options, err := storage.GetMountOptions("aufs", []string{"backend=auto", "mountopt=nodev,noexec"})
	if err != nil || !slices.Equal(options, want) {
		t.Errorf("%q, %v", options, err)
	}
	_, err = storage.GetMountOptions("aufs", []string{"aufs.backend=auto"})
	if refused := err != nil && strings.Contains(err.Error(), `unknown driver "aufs"`); refused != isNewLibrary {
		t.Errorf("with the name: %v", err)
	}
}
