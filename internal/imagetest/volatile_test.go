//go:build linux

package imagetest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// TestVolatileContainer mounts containers as buildah and podman run --rm make them, and others. Mountinfo must show what the driver says
// that it supports. A mount option that overlayfs lacks is refused.
func TestVolatileContainer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, backend string) {
		store := openStore(t, t.TempDir(), backend)
		layer, err := store.CreateLayer("", "", nil, "", false, nil)
		must(t, err)
		image, err := store.CreateImage("", nil, layer.ID, "", nil)
		must(t, err)
		for what, c := range map[string]struct {
			options  storage.ContainerOptions
			volatile bool
		}{
			"ordinary":    {},
			"volatile":    {storage.ContainerOptions{Volatile: true}, true},
			"by mountopt": {storage.ContainerOptions{MountOpts: []string{"volatile", "nodev"}}, true},
		} {
			t.Run(what, func(t *testing.T) {
				container, err := store.CreateContainer("", nil, image.ID, "", "", &c.options)
				must(t, err)
				if len(c.options.MountOpts) > 0 && backend == "overlay" && !supportsVolatile(t, store) {
					if _, err := store.Mount(container.ID, ""); !errors.Is(err, unix.EINVAL) {
						t.Errorf("mounting with an option that the kernel lacks: %v", err)
					}
					must(t, store.DeleteContainer(container.ID))
					return
				}
				for _, name := range []string{"first", "second"} {
					dir, err := store.Mount(container.ID, "")
					must(t, err)
					if got, want := isVolatile(t, dir), c.volatile && supportsVolatile(t, store); got != want {
						t.Errorf("the %s mount is volatile: %v, and should be %v", name, got, want)
					}
					must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
					_, err = store.Unmount(container.ID, false)
					must(t, err)
				}
				changes, err := store.Changes("", container.LayerID)
				if err != nil || len(changes) != 2 {
					t.Errorf("changes: %v, %v", changes, err)
				}
				must(t, store.DeleteContainer(container.ID))
			})
		}
		_, err = store.Shutdown(true)
		must(t, err)
	})
}

// supportsVolatile returns what the status of the driver says, as podman info shows it.
func supportsVolatile(t *testing.T, store storage.Store) bool {
	t.Helper()
	status, err := store.Status()
	must(t, err)
	for _, pair := range status {
		if pair[0] == "Supports volatile" {
			return pair[1] == "true"
		}
	}
	t.Errorf("the status lacks it: %v", status)
	return false
}

// isVolatile reports whether mountinfo shows that the mount at target is volatile. Newer kernels show fsync=volatile.
func isVolatile(t *testing.T, target string) bool {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(target))
	must(t, err)
	return len(mounts) > 0 && slices.ContainsFunc(strings.Split(mounts[len(mounts)-1].VFSOptions, ","), func(option string) bool {
		return option == "volatile" || option == "fsync=volatile"
	})
}
