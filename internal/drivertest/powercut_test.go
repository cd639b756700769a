//go:build linux && (amd64 || arm64)

package drivertest

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// powerCut makes the power go off at steps of the operation, and after it. The disk then has what the file system has written by then. Only
// an fsync makes ext4 write: by itself it writes every five seconds, and the operation takes less. A new driver must find each layer as it
// was before the operation, or as it is after it. Once the operation has returned, it must find each layer as it is after it.
func (tr *trial) powerCut(t *testing.T) {
	wanted := map[int]bool{}
	for _, call := range some(t, slices.Clone(tr.steps)) {
		wanted[call.N] = true
	}
	d := newDisk(t)
	if tr.op.quotas {
		d = newQuotaDisk(t)
	}
	home := filepath.Join(d.dir, "home")
	copyStoreTo(t, tr.template, home)
	d.sync(t)
	rec := newRecording(t, d)
	var calls []string
	tr.child(t, home, runOnce, func(call faults.Call) faults.Verdict {
		if wanted[call.N] {
			rec.cut(t)
			calls = append(calls, call.String())
		}
		return faults.Continue
	})
	rec.cut(t)
	calls = append(calls, "the end")
	unmountLazily(t, home)
	for i, cut := range rec.disks(t) {
		cut.mount(t)
		home := filepath.Join(cut.dir, "home")
		if calls[i] == "the end" {
			tr.isAfter(t, home)
		} else {
			tr.compare(t, tr.look(t, home), true)
		}
		unmountLazily(t, home)
		cut.unmount(t)
		if t.Failed() {
			t.Fatalf("the power went off at %s", calls[i])
		}
	}
	t.Logf("the power went off %d times, at %d steps, by %T", len(calls), len(tr.steps), rec)
}

// A recording has what a power cut leaves of a disk, at several times.
type recording interface {
	// cut makes the power go off now.
	cut(t *testing.T)
	// disks unmounts the disk, and returns what each cut has left.
	disks(t *testing.T) []*disk
}

// newRecording begins a recording of a mounted disk: with the device mapper's log of writes if the kernel has it, and otherwise with
// copies of what the file system has written.
func newRecording(t *testing.T, d *disk) recording {
	t.Helper()
	if !hasLogWrites(t) {
		return &copies{disk: d}
	}
	must(t, mountutil.UnmountRetry(d.dir))
	return newLogged(t, d)
}

// copies has a copy of the image for each cut. A copy has all that the file system has written, as if the disk had no cache.
type copies struct {
	*disk
	made []*disk
}

func (c *copies) cut(t *testing.T) {
	t.Helper()
	c.made = append(c.made, c.copy(t))
}

func (c *copies) disks(t *testing.T) []*disk {
	t.Helper()
	c.unmount(t)
	return c.made
}

// A disk is an image with an ext4 file system of 48 MB, or of 32 MB if it has quotas.
type disk struct {
	image, dir string
	// options are those of the mount.
	options string
}

// newQuotaDisk makes an empty disk on which layers can have quotas, and mounts it.
func newQuotaDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir(), options: "prjquota"}
	must(t, storetest.UnpackQuotaImage(d.image))
	d.mount(t)
	return d
}

// newDisk makes an empty disk, and mounts it.
func newDisk(t *testing.T) *disk {
	t.Helper()
	packed, err := os.Open("testdata/ext4.img.gz")
	must(t, err)
	defer packed.Close()
	content, err := gzip.NewReader(packed)
	must(t, err)
	d := &disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	f, err := os.Create(d.image)
	must(t, err)
	_, err = io.Copy(f, content)
	must(t, errors.Join(err, f.Close()))
	d.mount(t)
	return d
}

// sync writes everything that is pending to the disk.
func (d *disk) sync(t *testing.T) {
	t.Helper()
	dir, err := os.Open(d.dir)
	must(t, err)
	defer dir.Close()
	must(t, fsutil.SyncFS(int(dir.Fd()), dir.Name()))
}

// copy makes a disk with the content that this disk has now. The new disk is not mounted.
func (d *disk) copy(t *testing.T) *disk {
	t.Helper()
	to := &disk{image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir(), options: d.options}
	from, err := os.Open(d.image)
	must(t, err)
	defer from.Close()
	f, err := os.Create(to.image)
	must(t, err)
	_, err = io.Copy(f, from)
	must(t, errors.Join(err, f.Close()))
	return to
}

// mount mounts the disk, through a loop device that goes away with the mount.
func (d *disk) mount(t *testing.T) {
	t.Helper()
	device, err := storetest.Attach(d.image)
	must(t, err)
	must(t, unix.Mount(device.Name(), d.dir, "ext4", 0, d.options))
	must(t, device.Close())
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) }) // after a failure
}

func (d *disk) unmount(t *testing.T) {
	t.Helper()
	must(t, mountutil.UnmountRetry(d.dir))
	must(t, os.Remove(d.image))
}
