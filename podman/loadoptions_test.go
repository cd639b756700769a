//go:build linux && storage_v1.63

package aufs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage/types"
)

// fewestOptions is how many options the library makes at least of a storage.conf with every option.
const fewestOptions = 16

// loadOptions reads a storage.conf with these lines, as programs do.
func loadOptions(t *testing.T, lines ...string) types.StoreOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "storage.conf")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	t.Setenv("CONTAINERS_STORAGE_CONF", path)
	// Whoever runs the tests may have set it.
	t.Setenv("STORAGE_DRIVER", "")
	options, err := types.LoadStoreOptions(types.LoadOptions{})
	must(t, err)
	return options
}
