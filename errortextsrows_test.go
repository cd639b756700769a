//go:build linux && (amd64 || arm64)

package aufs

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/faults"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// inChild is a childProcess: it brings about the error of the row, and writes its text to a file.
func inChild(t *testing.T, name backend.Name, row, dir string) {
	t.Helper()
	rows := errorTexts()
	n := slices.IndexFunc(rows, func(r errorText) bool { return r.name == row })
	s := &errorStore{T: t, home: filepath.Join(dir, "home"), name: name}
	if rows[n].child.opened {
		var err error
		s.Driver, err = Init(s.home, optionsFor(name))
		must(t, err)
	}
	for _, number := range rows[n].child.denied {
		must(t, faults.Deny(number, rows[n].child.errno))
	}
	text := s.check(rows[n], rows[n].provoke(s))
	must(t, os.WriteFile(filepath.Join(dir, "text"), []byte(text), 0o600))
}

// errorTexts are the errors in the order of docs/errors.md.
func errorTexts() []errorText {
	return slices.Concat(openingErrors(), optionErrors(), idErrors(), creatingErrors(), damagedErrors(), mountingErrors(), shiftingErrors(), unmountingErrors(),
		applyingErrors(), stagingErrors(), readingErrors(), removingErrors(), maintenanceErrors())
}

// mountCalls are the system calls that mount.
var mountCalls = []uintptr{unix.SYS_MOUNT, unix.SYS_FSOPEN, unix.SYS_OPEN_TREE}

// openAt opens a store at another place.
func (s *errorStore) openAt(home string) error {
	return s.openAs(home, s.name)
}

// openAs opens the store at home, with a backend.
func (s *errorStore) openAs(home string, name backend.Name) error {
	s.T.Helper()
	d, err := Init(home, optionsFor(name))
	if err == nil {
		must(s.T, d.Cleanup())
	}
	return err
}

// openingErrors are the errors of Init.
func openingErrors() []errorText {
	reopened := func(s *errorStore) error { return s.open() }
	return []errorText{
		{
			name: "a file in the way of the store", words: []string{"opening the store", "DIR/file"}, is: []error{unix.ENOTDIR},
			provoke: func(s *errorStore) error {
				write(s.T, filepath.Dir(s.home), files{"file": ""})
				return s.openAt(filepath.Join(filepath.Dir(s.home), "file/home"))
			},
		},
		{
			name: "a file in the way of a directory", words: []string{"opening the store", "DIR/other/diff"}, is: []error{unix.ENOTDIR},
			provoke: func(s *errorStore) error {
				write(s.T, filepath.Dir(s.home), files{"other/diff": ""})
				return s.openAt(filepath.Join(filepath.Dir(s.home), "other"))
			},
		},
		{
			name: "a read-only disk", words: []string{"opening the store", "DIR/disk/home"}, is: []error{unix.EROFS},
			provoke: func(s *errorStore) error {
				disk := filepath.Join(filepath.Dir(s.home), "disk")
				s.mountTmpfs(disk)
				must(s.T, unix.Mount("none", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				return s.openAt(filepath.Join(disk, "home"))
			},
		},
		{
			name: "a mount point in the store", words: []string{"opening the store", "HOME/layers"}, is: []error{unix.EXDEV},
			provoke: func(s *errorStore) error {
				s.mountTmpfs(s.in("layers"))
				return s.open()
			},
		},
		{
			name: "no aufs in the kernel", words: []string{"opening the store"}, is: []error{ErrAufsNotSupported, graphdriver.ErrNotSupported, unix.ENODEV},
			provoke: func(s *errorStore) error { return s.openAs(s.home, backend.Aufs) }, child: childProcess{denied: mountCalls, errno: unix.ENODEV},
		},
		{
			name: "no overlayfs in the kernel", words: []string{"opening the store"}, is: []error{graphdriver.ErrNotSupported, unix.ENODEV},
			provoke: func(s *errorStore) error { return s.openAs(s.home, backend.Overlay) }, child: childProcess{denied: mountCalls, errno: unix.ENODEV},
		},
		{
			name: "neither aufs nor overlayfs in the kernel", words: []string{"opening the store"},
			is:      []error{ErrAufsNotSupported, graphdriver.ErrNotSupported, unix.ENODEV},
			provoke: func(s *errorStore) error { return s.openAs(s.home, backend.Auto) }, child: childProcess{denied: mountCalls, errno: unix.ENODEV},
		},
		{
			name: "no right to mount", only: backend.Aufs, words: []string{"opening the store"}, is: []error{graphdriver.ErrPrerequisites, unix.EPERM},
			provoke: reopened, child: childProcess{denied: mountCalls, errno: unix.EPERM},
		},
		{
			name: "no right to mount with overlayfs", only: backend.Overlay, words: []string{"opening the store"}, is: []error{graphdriver.ErrPrerequisites, unix.EPERM},
			provoke: reopened, child: childProcess{denied: mountCalls, errno: unix.EPERM},
		},
		{
			name: "aufs in a user namespace", words: []string{"opening the store"}, is: []error{ErrAufsNested, graphdriver.ErrNotSupported},
			provoke: func(s *errorStore) error { return s.openNew(backend.Aufs) }, child: childProcess{nested: true},
		},
		{
			name: "no overlayfs in a user namespace", xattrs: true, devices: true, words: []string{"opening the store"}, is: []error{graphdriver.ErrPrerequisites},
			provoke: func(s *errorStore) error { return s.openNew(backend.Overlay) },
			child:   childProcess{nested: true, denied: mountCalls, errno: unix.EPERM},
		},
		{
			name: "a comma in the path", words: []string{"opening the store", "DIR/a,b"}, is: []error{graphdriver.ErrPrerequisites},
			provoke: func(s *errorStore) error { return s.openAs(filepath.Join(filepath.Dir(s.home), "a,b"), backend.Aufs) },
		},
		{
			name: "a store on overlayfs with the aufs backend", only: backend.Aufs, words: []string{"opening the store", "DIR/mount/home/diff"}, is: []error{graphdriver.ErrIncompatibleFS},
			provoke: onOverlayfs,
		},
		{
			name: "a store on overlayfs", only: backend.Overlay, words: []string{"opening the store", "DIR/mount/home/diff"},
			is: []error{graphdriver.ErrIncompatibleFS}, provoke: onOverlayfs,
		},
		{
			name: "a store on NFS", words: []string{"opening the store", "HOME/diff is on NFS"}, is: []error{graphdriver.ErrIncompatibleFS},
			provoke: onNFS, harmless: true,
		},
	}
}

// onNFS opens the store as if it were on NFS, which not every kernel has.
func onNFS(s *errorStore) error {
	library := storageLibrary()
	library.FSName = func(string) string { return "nfs" }
	_, err := driver.Open(s.home, driver.Config{Backend: s.name, Library: library})
	return ofLibrary(err)
}

// openNew opens a new store, with a backend.
func (s *errorStore) openNew(name backend.Name) error {
	s.home = filepath.Join(s.T.TempDir(), "home")
	return s.openAs(s.home, name)
}

// openWithFile opens the store with an options file of this content.
func (s *errorStore) openWithFile(content string) error {
	dir := filepath.Dir(s.home)
	s.T.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(dir, "storage.conf"))
	write(s.T, dir, files{optionsFileName: content})
	return s.open()
}

// onOverlayfs opens a store on overlayfs.
func onOverlayfs(s *errorStore) error {
	dir := filepath.Dir(s.home)
	if s.name == backend.Aufs {
		s.T.Cleanup(wire.ExpectMessages("already stacked", "xino doesn't support"))
	}
	write(s.T, dir, files{"mount/": "", "lower/": "", "upper/": "", "work/": ""})
	data := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
	must(s.T, unix.Mount("none", filepath.Join(dir, "mount"), "overlay", 0, data))
	s.T.Cleanup(func() { must(s.T, unix.Unmount(filepath.Join(dir, "mount"), 0)) })
	return s.openAt(filepath.Join(dir, "mount/home"))
}

// mountTmpfs mounts a small file system at a directory, until the test ends.
func (s *errorStore) mountTmpfs(dir string) {
	must(s.T, os.MkdirAll(dir, 0o755))
	must(s.T, unix.Mount("none", dir, "tmpfs", 0, "size=64k"))
	unmount := func() error { return unix.Unmount(dir, 0) }
	if strings.HasPrefix(dir, s.home+"/") {
		s.onClose = append(s.onClose, unmount)
		return
	}
	s.T.Cleanup(func() { must(s.T, unmount()) })
}

// optionErrors are the errors of options in storage.conf and on the command line.
func optionErrors() []errorText {
	var rows []errorText
	for _, option := range []string{
		"aufs.bogus=1", "aufs.backend", "aufs.backend=zfs", "aufs.ignore_chown_errors=maybe", "aufs.size=10Q", "aufs.inodes=many",
		"aufs.mount_program=/usr/bin/fuse-overlayfs", "aufs.force_mask=shared", "aufs.use_composefs=true",
		"aufs.additionalimagestore=/images", "aufs.additionallayerstore=/layers:ref",
		"aufs.mountopt=metacopy=on", "aufs.mountopt=xino=/x", "aufs.mountopt=dev,nodev",
	} {
		key, _, _ := strings.Cut(option, "=")
		rows = append(rows, errorText{
			name: option, words: []string{"option", key}, provoke: func(s *errorStore) error { return s.open(option) }, harmless: true,
		})
	}
	for _, content := range []string{"nodev\n", "backend = zfs\n"} {
		rows = append(rows, errorText{
			name: "options file", words: []string{"DIR/aufs.conf"}, provoke: func(s *errorStore) error { return s.openWithFile(content) }, harmless: true,
		})
	}
	return append(rows, errorText{
		name: "a quota where there are none", words: []string{"opening the store", "size=10737418240", "HOME/diff"}, is: []error{graphdriver.ErrPrerequisites},
		provoke: func(s *errorStore) error {
			s.onSmallDisk()
			return s.open("aufs.size=10G")
		},
	})
}

// idErrors are the errors of names that no layer can have.
func idErrors() []errorText {
	var rows []errorText
	for _, c := range []struct{ id, named string }{
		{"", `""`}, {"..", `".."`}, {"a/b", `"a/b"`}, {"a\r", `"a\r"`}, {"a,b", "a,b"}, {"a-removing", "a-removing"},
	} {
		id := c.id
		rows = append(rows, errorText{
			name: fmt.Sprintf("create %q", id), words: []string{"creating layer " + c.named},
			provoke: func(s *errorStore) error { return s.Create(id, "", nil) }, harmless: true,
		})
	}
	return append(rows, errorText{
		name: "mount a bad name", words: []string{"mounting layer", `"a/b"`}, provoke: func(s *errorStore) error { return s.get("a/b") }, harmless: true,
	}, errorText{
		name: "create on a bad name", words: []string{"creating layer new", `"a/b"`}, provoke: func(s *errorStore) error { return s.Create("new", "a/b", nil) },
		harmless: true,
	})
}

// storageOpt returns an option of a layer.
func storageOpt(key, value string) *graphdriver.CreateOpts {
	return &graphdriver.CreateOpts{StorageOpt: map[string]string{key: value}}
}

// creatingErrors are the errors of Create and its like.
func creatingErrors() []errorText {
	row := func(name string, provoke func(s *errorStore) error, is []error, words ...string) errorText {
		return errorText{name: name, words: append(words, "creating layer"), is: is, provoke: provoke}
	}
	return []errorText{
		row("create twice", func(s *errorStore) error { return s.Create("child", "base", nil) }, []error{fs.ErrExist}, "layer child"),
		row("create on an unknown layer", func(s *errorStore) error { return s.Create("new", "none", nil) }, []error{graphdriver.ErrLayerUnknown}, "layer new", "none"),
		row("create with a quota where there are none", func(s *errorStore) error {
			s.onSmallDisk()
			return s.CreateReadWrite("new", "base", storageOpt("size", "10G"))
		}, nil, "layer new", "size=10737418240", "HOME/diff"),
		row("create with a wrong quota", func(s *errorStore) error { return s.CreateReadWrite("new", "base", storageOpt("size", "10Q")) }, nil, "layer new", "size=10Q"),
		row("create a read-only layer with a quota", func(s *errorStore) error { return s.Create("new", "base", storageOpt("size", "10G")) }, nil, "layer new", "size=10G"),
		row("create with an unknown option", func(s *errorStore) error { return s.CreateReadWrite("new", "base", storageOpt("colour", "red")) }, nil, "layer new", "colour=red"),
		row("create on a damaged layer", func(s *errorStore) error {
			s.damage("child", "none\n")
			return s.Create("new", "child", nil)
		}, []error{ErrDamaged}, "layer new", "HOME/layers/child"),
		row("create on a layer without a directory", func(s *errorStore) error {
			must(s.T, os.Remove(s.in("diff/child")))
			return s.Create("new", "child", nil)
		}, []error{fs.ErrNotExist}, "layer new", "HOME/diff/child"),
		row("create where something is mounted", func(s *errorStore) error {
			s.mountTmpfs(s.in("diff/new"))
			return s.Create("new", "base", nil)
		}, []error{unix.EBUSY}, "layer new", "HOME/diff/new"),
		row("create on a full disk", func(s *errorStore) error {
			s.onFullDisk()
			return s.Create("new", "base", nil)
		}, []error{unix.ENOSPC}, "layer new", "HOME/tmp"),
	}
}
