//go:build linux

package imagetest

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage"
)

// libraryAppliesRoot reports whether this storage library applies an archive's metadata of the root directory to the layer's.
var libraryAppliesRoot = strings.HasPrefix(reflect.TypeFor[storage.DiffOptions]().PkgPath(), "go.podman.io/")

// TestDefaultMountOptions tests a part of the newer library that refuses options with the name of this driver; docs/options.md says to
// leave the name out. The older library knows no options of this driver.
func TestDefaultMountOptions(t *testing.T) {
	var want []string
	if libraryAppliesRoot {
		want = []string{"nodev", "noexec"}
	}
	options, err := storage.GetMountOptions("aufs", []string{"backend=auto", "mountopt=nodev,noexec"})
	if err != nil || !slices.Equal(options, want) {
		t.Errorf("%q, %v", options, err)
	}
	_, err = storage.GetMountOptions("aufs", []string{"aufs.backend=auto"})
	if refused := err != nil && strings.Contains(err.Error(), `unknown driver "aufs"`); refused != libraryAppliesRoot {
		t.Errorf("with the name: %v", err)
	}
}
