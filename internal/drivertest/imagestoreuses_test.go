//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// TestImageStorePutAfterChange ends the use of layers in an image store whose owner has changed them meanwhile, or which is gone.
func TestImageStorePutAfterChange(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, change := range map[string]func(i imageStore) error{
			"a conversion has begun": func(i imageStore) error {
				return i.home.SetForm("middle", store.FormRecord{Form: whiteout.OverlayTrusted, Converting: true})
			},
			"a change of owners has begun": func(i imageStore) error {
				return errors.Join(os.MkdirAll(i.home.Overlay(store.OwnersDir), 0o700), os.WriteFile(i.home.Overlay(store.OwnersDir, "middle"), []byte("plan"), 0o600))
			},
			"the layer is damaged": func(i imageStore) error { return os.RemoveAll(i.home.Diff("middle")) },
			"the layers are gone": func(i imageStore) error {
				return errors.Join(os.RemoveAll(i.home.Layers("")), os.Mkdir(i.home.Layers(""), 0o700))
			},
			"the store is gone": func(i imageStore) error { return os.Rename(i.path, i.path+"-gone") },
		} {
			t.Run(what, func(t *testing.T) {
				image := threeImageLayers(t, name)
				s := newStore(t, name, withImages(image))
				dir := s.get(t, "middle")
				s.get(t, "middle")
				must(t, change(image))
				must(t, s.Put("middle"))
				if !mountedAt(t, dir) {
					t.Error("the first of two Puts has ended the mount")
				}
				must(t, s.Put("middle"))
				noMounts(t, dir)
			})
		}
	})
}

// TestUseOfLostLayer ends the use of a layer after somebody has removed the layer's directory or that of an ancestor. The root of an aufs mount
// then does not exist any more. Put says that a layer has no directory, and leaves it mounted.
func TestUseOfLostLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, lost := range []string{"container", "middle"} {
			for _, options := range [][]string{nil, {"ro"}} {
				for what, end := range map[string]func(s testStore) error{
					"Put":     func(s testStore) error { return s.Put("container") },
					"Remove":  func(s testStore) error { return s.Remove("container") },
					"Cleanup": func(s testStore) error { return s.Cleanup() },
				} {
					t.Run(fmt.Sprint(lost, options, what), func(t *testing.T) {
						s := newStore(t, name)
						threeLayers(t, s)
						s.create(t, "middle", "container")
						dir := s.get(t, "container", options...)
						must(t, os.RemoveAll(s.inner.Home.Diff(lost)))
						if !mountedAt(t, dir) {
							t.Error("the mount is not seen")
						}
						if err := end(s); lost == "container" && what == "Put" {
							wants(t, err, fs.ErrNotExist, "unmounting layer container", "diff/container")
							must(t, s.Remove("container"))
						} else {
							must(t, err)
						}
						noMountsBelow(t, s.inner.Home.Mnt(""))
					})
				}
			}
		}
	})
}

// TestImageStoreBaseOfSameID calls Get and Put for a layer of home without parents, which needs no mount. Meanwhile another driver has the layer
// of that name in the image store mounted.
func TestImageStoreBaseOfSameID(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		dir := s.get(t, "base")
		s.create(t, "", "base")
		other, err := reopen(string(s.inner.Home), name, withImages(image))
		must(t, err)
		for range 2 {
			sameNames(t, readTree(t, other.get(t, "base")).Names())
			must(t, other.Put("base"))
			if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
				t.Fatal(err)
			}
		}
		must(t, s.Put("base"))
		noMounts(t, dir)
	})
}

// TestImageStoreUnusableBesideReadOnlyHome has an image store that cannot be mounted. It opens a store with it while the store can
// be written, and again while the store is read-only.
func TestImageStoreUnusableBesideReadOnlyHome(t *testing.T) {
	onOverlay(t, func(t *testing.T) {
		image := threeImageLayers(t, backend.Overlay)
		s := newStore(t, backend.Overlay)
		must(t, s.Cleanup())
		must(t, unix.Mount("proc", image.home.Diff(""), "proc", 0, ""))
		t.Cleanup(func() { must(t, mountutil.UnmountRetry(image.home.Diff(""))) })
		home := string(s.inner.Home)
		_, err := reopen(home, backend.Overlay, withImages(image))
		wants(t, err, store.ErrIncompatibleFS, "image store "+image.path)
		must(t, errors.Join(unix.Mount(home, home, "", unix.MS_BIND, ""), unix.Mount("", home, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")))
		t.Cleanup(func() { must(t, mountutil.UnmountRetry(home)) })
		_, err = reopen(home, backend.Overlay, withImages(image), func(c *driver.Config) { c.SkipMountHome = true })
		wants(t, err, store.ErrIncompatibleFS, "image store "+image.path)
	})
}

// TestImageStoreRecordFails opens a store in which something is in the way of what it keeps for an image store.
func TestImageStoreRecordFails(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		home := string(newStore(t, name, withImages(image)).inner.Home)
		found, err := filepath.Glob(filepath.Join(home, store.OverlayDir, store.ImagesDir, "*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		must(t, errors.Join(os.RemoveAll(found[0]), os.WriteFile(found[0], nil, 0o600)))
		_, err = reopen(home, name, withImages(image))
		wants(t, err, unix.ENOTDIR, "opening the store "+home, found[0])
		if err != nil && strings.Count(err.Error(), "opening the store") != 1 {
			t.Errorf("the error names the operation twice: %v", err)
		}
	})
}

// TestImageStoreOfOthers has an image store that its owner has closed to other users, as drivers do.
func TestImageStoreOfOthers(t *testing.T) {
	if path := os.Getenv(childVariable); path != "" {
		must(t, unix.Setresgid(65534, 65534, 65534))
		must(t, unix.Setresuid(65534, 65534, 65534))
		wants(t, driver.CheckImageStore(path), unix.EACCES, "may not read the store")
		return
	}
	if os.Getuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	onOverlay(t, func(t *testing.T) {
		dir, err := os.MkdirTemp("", "aufs-test-")
		must(t, err)
		defer os.RemoveAll(dir)
		must(t, os.Chmod(dir, 0o755))
		newImageStore(t, dir, backend.Overlay, func(s testStore) { s.create(t, "", "base") })
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestImageStoreOfOthers$", "-test.v")
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestImageStoreOfOthers") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestImageStoreErrors checks that the errors about a layer whose parent is gone say which operation failed.
func TestImageStoreErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		image := threeImageLayers(t, name)
		s := newStore(t, name, withImages(image))
		must(t, os.Remove(image.home.Layers("base")))
		wants(t, s.mountError("middle"), store.ErrDamaged, "aufs: mounting layer middle: ", image.home.Layers("middle"))
		_, err := s.Metadata("middle")
		wants(t, err, store.ErrDamaged, "aufs: describing layer middle: ", image.home.Layers("middle"))
	})
}
