//go:build linux

package imagetest

import (
	"slices"
	"strings"
	"testing"

	"go.podman.io/storage"
)

// libraryAppliesRoot says that this version of the storage library gives a layer's root directory what an archive has of it.
const libraryAppliesRoot = true

// TestDefaultMountOptions is about a part of the library that refuses options with the name of this driver: README.md tells to leave
// the name out.
func TestDefaultMountOptions(t *testing.T) {
	options, err := storage.GetMountOptions("aufs", []string{"backend=auto", "mountopt=nodev,noexec"})
	if err != nil || !slices.Equal(options, []string{"nodev", "noexec"}) {
		t.Errorf("%q, %v", options, err)
	}
	_, err = storage.GetMountOptions("aufs", []string{"aufs.backend=auto"})
	if err == nil || !strings.Contains(err.Error(), `unknown driver "aufs"`) {
		t.Errorf("with the name: %v", err)
	}
}
