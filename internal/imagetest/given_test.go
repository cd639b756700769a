//go:build linux

package imagetest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"

	"github.com/seed-642172e2/aufs"
)

// Environment variables.
const (
	// backendsVariable names the backends that the tests must run on, separated
	// by blanks. If it is empty, they run on all backends that the host
	// supports, which must be at least one.
	backendsVariable = "AUFS_TEST_BACKENDS"
	// imageVariable is the directory that mklayout made.
	imageVariable = "AUFS_TEST_IMAGE"
)

// givenImage returns the directory with the image.
func givenImage(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(imageVariable)
	if dir == "" {
		t.Fatalf("%s does not say where the image is: \"make test\" makes it", imageVariable)
	}
	return dir
}

// backends returns the backends that the tests run on.
func backends(t *testing.T) []string {
	t.Helper()
	if names := strings.Fields(os.Getenv(backendsVariable)); len(names) > 0 {
		return names
	}
	var found []string
	var errs []error
	for _, name := range []string{"aufs", "overlay"} {
		d, err := aufs.Init(filepath.Join(t.TempDir(), "home"), graphdriver.Options{DriverOptions: []string{backendOption(name)}})
		if err == nil {
			found = append(found, name)
			err = d.Cleanup()
		}
		errs = append(errs, err)
	}
	if len(found) == 0 {
		t.Fatalf("root, and no backend: %v", errors.Join(errs...))
	}
	return found
}

// backendOption returns the driver's option for a backend.
func backendOption(name string) string { return "aufs.backend=" + name }

// forEachBackend runs a test with the storage library's Store on each backend.
// The test needs no image.
func forEachBackend(t *testing.T, test func(t *testing.T, backend string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) {
			noHostConfig(t)
			test(t, backend)
		})
	}
}
