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

// A bareOverlay holds the arguments with which the kernel alone mounts a layer of this module's
// driver with overlayfs.
type bareOverlay struct{ target, data string }

// mostBareLowers is a number of lower directories that always fits into the page of mount(2).
const mostBareLowers = 150

// bareOverlay returns the mount of a layer whose ancestors have no whiteouts. It is valid until the
// benchmark ends.
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
	// The work directory must be on the same mount as the layer.
	dir, err := os.MkdirTemp(s.root, "bare-")
	must(b, err)
	b.Cleanup(func() { must(b, os.RemoveAll(dir)) })
	m := bareOverlay{target: filepath.Join(dir, "mnt")}
	must(b, errors.Join(os.Mkdir(m.target, 0o700), os.Mkdir(filepath.Join(dir, "work"), 0o700)))
	plain := "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + s.filesOf(id) + ",workdir=" + filepath.Join(dir, "work") +
		",redirect_dir=nofollow,metacopy=off,index=off"
	// The driver passes this option too, if the kernel knows it. Without it, overlayfs leaves an
	// attribute on the upper directory.
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

// benchmarkBareOverlay mounts and unmounts a layer without a driver.
func benchmarkBareOverlay(b *testing.B, s store, id string, look func(dir string)) {
	b.Helper()
	m := s.bareOverlay(b, id)
	b.ReportAllocs()
	for b.Loop() {
		must(b, m.mount())
		b.StopTimer()
		look(m.target)
		b.StartTimer()
		must(b, m.unmount())
	}
}
