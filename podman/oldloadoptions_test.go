//go:build linux && !storage_v1.63

package aufs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.podman.io/storage/types"
)

// fewestOptions is how many options the library makes at least of a storage.conf with every option.
const fewestOptions = 8

// loadOptions reads a storage.conf with these lines, in the way of version v1.62 of the library, which has no types.LoadStoreOptions.
func loadOptions(t *testing.T, lines ...string) types.StoreOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "storage.conf")
	must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	t.Setenv("STORAGE_DRIVER", "")
	must(t, os.Unsetenv("STORAGE_DRIVER"))
	var options types.StoreOptions
	must(t, types.ReloadConfigurationFile(path, &options))
	return options
}
