//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A bareOverlay is what the kernel is told to mount a layer of this module's driver with overlayfs, and nothing else.
type bareOverlay struct{ target, data string }

// mostBareLowers is how many lower directories surely fit into the page of mount(2).
const mostBareLowers = 150

// bareOverlay is the mount of a layer that is at rest, whose ancestors have no whiteouts. It is good until the benchmark ends.
func (s store) bareOverlay(b *testing.B, id string) bareOverlay {
	b.Helper()
	parents, err := os.ReadFile(filepath.Join(s.root, "layers", id))
	must(b, err)
	var lowers []string
	for parent := range strings.FieldsSeq(string(parents)) {
		dir, err := os.Open(s.filesOf(parent))
		must(b, err)
		b.Cleanup(func() { must(b, dir.Close()) })
		lowers = append(lowers, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	}
	if len(lowers) > mostBareLowers {
		b.Skip("they do not fit into a page")
	}
	// In the mount that the layer is in, as it has to be.
	dir, err := os.MkdirTemp(s.root, "bare-")
	must(b, err)
	b.Cleanup(func() { must(b, os.RemoveAll(dir)) })
	m := bareOverlay{target: filepath.Join(dir, "mnt")}
	must(b, errors.Join(os.Mkdir(m.target, 0o700), os.Mkdir(filepath.Join(dir, "work"), 0o700)))
	plain := "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + s.filesOf(id) + ",workdir=" + filepath.Join(dir, "work") +
		",redirect_dir=nofollow,metacopy=off,index=off"
	// As the driver does where the kernel knows it: else overlayfs leaves an attribute on the upper directory.
	m.data = plain + ",uuid=null"
	if err := m.mount(); err == nil {
		must(b, m.unmount())
	} else {
		m.data = plain
	}
	return m
}

func (m bareOverlay) mount() error { return unix.Mount("none", m.target, "overlay", 0, m.data) }

func (m bareOverlay) unmount() error { return unix.Unmount(m.target, 0) }

// benchmarkBareOverlay mounts and unmounts a layer without a driver, and moves its whiteouts there and back: each has to be made in
// the one form and removed in the other, whoever does it.
func benchmarkBareOverlay(b *testing.B, s store, id string, whiteouts []string, look func(dir string)) {
	b.Helper()
	m := s.bareOverlay(b, id)
	moved := s.whiteoutsToMove(b, id, whiteouts)
	b.ReportAllocs()
	for b.Loop() {
		must(b, moved.toOverlay())
		must(b, m.mount())
		b.StopTimer()
		look(m.target)
		b.StartTimer()
		must(b, m.unmount())
		must(b, moved.toAufs())
	}
}

// movedWhiteouts are the whiteouts of one layer: paths of what they are in either form, and files to make links to.
type movedWhiteouts struct {
	aufs, overlay       []string
	aufsLike, overlayed string
}

func (s store) whiteoutsToMove(b *testing.B, id string, hidden []string) movedWhiteouts {
	b.Helper()
	dir, err := os.MkdirTemp(s.root, "whiteouts-")
	must(b, err)
	b.Cleanup(func() { must(b, os.RemoveAll(dir)) })
	m := movedWhiteouts{aufsLike: filepath.Join(dir, "aufs"), overlayed: filepath.Join(dir, "overlay")}
	must(b, os.WriteFile(m.aufsLike, nil, 0o444))
	must(b, unix.Mknod(m.overlayed, unix.S_IFCHR, 0))
	for _, name := range hidden {
		path := filepath.Join(s.filesOf(id), name)
		m.overlay = append(m.overlay, path)
		m.aufs = append(m.aufs, filepath.Join(filepath.Dir(path), ".wh."+filepath.Base(path)))
	}
	return m
}

func (m movedWhiteouts) toOverlay() error { return moveWhiteouts(m.overlayed, m.overlay, m.aufs) }

func (m movedWhiteouts) toAufs() error { return moveWhiteouts(m.aufsLike, m.aufs, m.overlay) }

// moveWhiteouts makes links to a file and removes others.
func moveWhiteouts(like string, add, remove []string) error {
	for i := range add {
		if err := unix.Link(like, add[i]); err != nil {
			return fmt.Errorf("link %s: %w", add[i], err)
		}
		if err := unix.Unlink(remove[i]); err != nil {
			return fmt.Errorf("unlink %s: %w", remove[i], err)
		}
	}
	return nil
}
