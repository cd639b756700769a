//go:build linux

package aufs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/differential/library"
	"golang.org/x/sys/unix"
)

// newDriver returns a driver on a store of its own. When the test ends, newDriver checks that nothing is mounted in the
// store.
func newDriver(t *testing.T, name backend.Name, more ...string) graphdriver.Driver {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	d, err := Init(home, optionsFor(name, more...))
	must(t, err)
	t.Cleanup(func() {
		if err := d.Cleanup(); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
		noMounts(t, home)
	})
	return d
}

// apply unpacks an archive of entries into the layer id.
func apply(t *testing.T, d graphdriver.Driver, id, parent string, options graphdriver.ApplyDiffOpts, entries ...entry) {
	t.Helper()
	options.Diff = archiveOf(t, entries...)
	_, err := library.ApplyTo(d, id, parent, options)
	must(t, err)
}

func TestRegistered(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		options := optionsFor(name)
		options.Root = t.TempDir()
		d, err := graphdriver.GetDriver("aufs", options)
		must(t, err)
		if d.String() != "aufs" || d.AdditionalImageStores() != nil {
			t.Errorf("it is called %s", d)
		}
		shifts, half := d.SupportsShifting(nil, nil), []idtools.IDMap{{HostID: 100_000, Size: 1}}
		if shifts && name == backend.Aufs || d.SupportsShifting(half, nil) || d.SupportsShifting(half, half) != shifts {
			t.Errorf("shifting: %v", shifts)
		}
		_, err = d.Dedup(graphdriver.DedupArgs{})
		wants(t, err, graphdriver.ErrNotSupported, "aufs", "equal files")
		must(t, d.Cleanup())
	})
}

// TestInitRefuses passes invalid options to Init, and checks that Init leaves nothing behind.
func TestInitRefuses(t *testing.T) {
	for _, option := range []string{"aufs.backend=zfs", "aufs.mountopt=bogus"} {
		parent := t.TempDir()
		_, err := Init(filepath.Join(parent, "home"), graphdriver.Options{DriverOptions: []string{option}})
		wants(t, err, nil, option)
		if entries, err := os.ReadDir(parent); err != nil || len(entries) > 0 {
			t.Errorf("%s: %v, %v", option, entries, err)
		}
	}
}

// TestErrorsAreTheLibrarys checks what the driver's errors match, and their text.
func TestErrorsAreTheLibrarys(t *testing.T) {
	for _, c := range []struct{ own, library error }{
		{store.ErrLayerUnknown, graphdriver.ErrLayerUnknown},
		{store.ErrNotSupported, graphdriver.ErrNotSupported},
		{store.ErrPrerequisites, graphdriver.ErrPrerequisites},
		{store.ErrIncompatibleFS, graphdriver.ErrIncompatibleFS},
	} {
		if c.own.Error() != c.library.Error() {
			t.Errorf("it says %q, and the library %q", c.own, c.library)
		}
		path := &fs.PathError{Op: "open", Path: "/f", Err: unix.EBUSY}
		err := ofLibrary(fmt.Errorf("aufs: mounting layer l: %w: %w", c.own, path))
		for _, target := range []error{c.own, c.library, unix.EBUSY} {
			if !errors.Is(err, target) {
				t.Errorf("%v is no %v", err, target)
			}
		}
		var as *fs.PathError
		if want := fmt.Sprintf("aufs: mounting layer l: %v: %v", c.library, path); !errors.As(err, &as) || as != path || err.Error() != want {
			t.Errorf("it is %v", err)
		}
	}
	var changed libraryError
	if err := ofLibrary(errors.New("another")); errors.As(err, &changed) || ofLibrary(nil) != nil {
		t.Error("another error is changed")
	}
}

// TestUnknownLayer calls the methods with a layer that is not in the store.
func TestUnknownLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDriver(t, name)
		_, getErr := d.Get("none", graphdriver.MountOpts{})
		_, metadataErr := d.Metadata("none")
		_, diffErr := d.Diff("none", nil, "", nil, "")
		_, changesErr := d.Changes("none", nil, "", nil, "")
		_, sizeErr := d.DiffSize("none", nil, "", nil, "")
		_, usageErr := d.ReadWriteDiskUsage("none")
		_, applyErr := library.ApplyTo(d, "none", "", graphdriver.ApplyDiffOpts{Diff: bytes.NewReader(archiveBytes(t))})
		_, getterErr := d.(graphdriver.DiffGetterDriver).DiffGetter("none") //nolint:forcetypeassert // it is one
		_, targetErr := differOf(t, d).DifferTarget("none")
		staged := differOf(t, d).ApplyDiffFromStagingDirectory("none", "", &graphdriver.DriverWithDifferOutput{}, nil)
		for _, err := range []error{
			getErr, metadataErr, diffErr, changesErr, sizeErr, usageErr, applyErr, getterErr, targetErr, staged, d.Create("child", "none", nil),
			d.CreateReadWrite("child", "none", nil), d.CreateFromTemplate("child", "none", nil, "", nil, nil, false), d.UpdateLayerIDMap("none", nil, nil, ""),
		} {
			wants(t, err, graphdriver.ErrLayerUnknown, "aufs: ", "none")
		}
		// The library asks with os.IsNotExist.
		if err := d.Put("none"); !os.IsNotExist(err) {
			t.Errorf("Put: %v", err)
		}
		clean, err := d.DeferredRemove("none")
		must(t, errors.Join(err, clean(), d.Remove("none")))
	})
}

// TestAgainstAnotherParent compares a layer with layers other than its parent, which takes mounts. It also applies
// archives to a layer that is not empty.
func TestAgainstAnotherParent(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDriver(t, name)
		must(t, errors.Join(d.Create("base", "", nil), d.Create("middle", "base", nil), d.Create("child", "middle", nil), d.Create("copy", "base", nil)))
		none := graphdriver.ApplyDiffOpts{}
		apply(t, d, "base", "", none, entry{Name: "f", Content: "f"}, entry{Name: "gone"})
		apply(t, d, "middle", "base", none, entry{Name: ".wh.gone"}, entry{Name: "m", Content: "middle"})
		apply(t, d, "child", "middle", none, entry{Name: "c", Content: "child"})
		for parent, want := range map[string][]string{"middle": {"A /c"}, "base": {"A /c", "A /m", "D /gone"}, "": {"A /c", "A /f", "A /m"}} {
			changes, err := d.Changes("child", nil, parent, nil, "")
			must(t, err)
			var got []string
			for _, c := range changes {
				got = append(got, c.String())
			}
			sameNames(t, got, want...)
		}
		r, err := d.Diff("child", nil, "base", nil, "")
		must(t, err)
		sameNames(t, keysOf(readArchive(t, r)), "c", "m", ".wh.gone")
		must(t, r.Close())
		if size, err := d.DiffSize("child", nil, "base", nil, ""); err != nil || size != int64(len("child")+len("middle")) {
			t.Errorf("the size is %d, %v", size, err)
		}
		// The second archive goes to a layer that is not empty.
		apply(t, d, "copy", "base", none, entry{Name: "c", Content: "c"})
		apply(t, d, "copy", "base", none, entry{Name: ".wh.f"}, entry{Name: "m"})
		dir, err := d.Get("copy", graphdriver.MountOpts{})
		must(t, err)
		sameNames(t, readTree(t, dir).Names(), "c", "gone", "m")
		must(t, d.Put("copy"))
	})
}

// TestMappings makes layers for a user namespace, and reads them.
func TestMappings(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDriver(t, name)
		ids := []idtools.IDMap{{HostID: 1000, Size: 10}}
		maps := idtools.NewIDMappingsFromMaps(ids, ids)
		must(t, errors.Join(d.Create("base", "", &graphdriver.CreateOpts{IDMappings: maps}), d.Create("child", "base", nil)))
		apply(t, d, "base", "", graphdriver.ApplyDiffOpts{Mappings: maps}, entry{Name: "f", Content: "f"})
		owners := func(id string, uid uint32) {
			t.Helper()
			dir, err := d.Get(id, graphdriver.MountOpts{Options: []string{"ro"}})
			must(t, err)
			for _, file := range []string{dir, filepath.Join(dir, "f")} {
				var st unix.Stat_t
				if err := unix.Lstat(file, &st); err != nil || st.Uid != uid || st.Gid != uid {
					t.Errorf("%s belongs to %d:%d, %v", file, st.Uid, st.Gid, err)
				}
			}
			must(t, d.Put(id))
		}
		owners("base", 1000)
		r, err := d.Diff("base", maps, "", nil, "")
		must(t, err)
		if h := readArchive(t, r)["f"]; h == nil || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("in the archive it is %+v", h)
		}
		must(t, r.Close())
		must(t, d.UpdateLayerIDMap("child", maps, nil, ""))
		owners("child", 0)
		if usage, err := d.ReadWriteDiskUsage("child"); err != nil || usage.Size != 1 || usage.InodeCount != 2 {
			t.Errorf("it takes %+v, %v", usage, err)
		}
	})
}

// untarDiffer is a graphdriver.Differ that unpacks an archive.
type untarDiffer struct {
	content []byte
	mode    *os.FileMode
	// ignored, unless it is nil, receives whether the differ was told to ignore errors of chown.
	ignored *bool
}

func (u untarDiffer) ApplyDiff(dest string, options *archive.TarOptions, _ *graphdriver.DifferOptions) (graphdriver.DriverWithDifferOutput, error) {
	if u.ignored != nil {
		*u.ignored = options.IgnoreChownErrors
	}
	err := archive.Untar(bytes.NewReader(u.content), dest, options)
	if u.mode != nil {
		err = errors.Join(err, os.Chmod(dest, *u.mode))
	}
	return graphdriver.DriverWithDifferOutput{Size: int64(len(u.content)), RootDirMode: u.mode}, err
}

func (untarDiffer) Close() error { return nil }

// differOf returns the driver with the methods for differs.
func differOf(t *testing.T, d graphdriver.Driver) graphdriver.DriverWithDiffer {
	t.Helper()
	with, ok := d.(graphdriver.DriverWithDiffer)
	if !ok {
		t.Fatalf("%T is no DriverWithDiffer", d)
	}
	return with
}

// TestDiffer has a differ fill two staging directories, puts one of them into a layer, and reads the layer's files.
func TestDiffer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDriver(t, name)
		must(t, errors.Join(d.Create("base", "", nil), d.Create("child", "base", nil)))
		differ := differOf(t, d)
		content := archiveBytes(t, entry{Name: "d/"}, entry{Name: "d/f", Content: "content"})
		mode := os.FileMode(0o701)
		unused, err := differ.ApplyDiffWithDiffer(nil, untarDiffer{content: content})
		must(t, err)
		out, err := differ.ApplyDiffWithDiffer(&graphdriver.ApplyDiffWithDifferOpts{}, untarDiffer{content: content, mode: &mode})
		must(t, err)
		must(t, differ.ApplyDiffFromStagingDirectory("base", "", &out, nil))
		must(t, differ.CleanupStagingDirectory(unused.Target))
		dir, err := differ.DifferTarget("base")
		must(t, err)
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("the root directory is %v, %v", info.Mode(), err)
		}
		sameNames(t, readTree(t, dir).Names(), "d", "d/f")
		getter, err := d.(graphdriver.DiffGetterDriver).DiffGetter("base") //nolint:forcetypeassert // it is one
		must(t, err)
		r, err := getter.Get("d/f")
		must(t, err)
		must(t, errors.Join(drain(r), getter.Close()))
		ids, err := d.ListLayers()
		if must(t, err); !slices.Equal(ids, []string{"base", "child"}) || !d.Exists("base") || d.Exists("none") {
			t.Errorf("there are %q", ids)
		}
	})
}

// TestCheckAndConvert runs Convert, Check and Repair on a store, and Convert and Check on a directory that is no store.
func TestCheckAndConvert(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		home := filepath.Join(t.TempDir(), "home")
		d, err := Init(home, optionsFor(name))
		must(t, err)
		must(t, errors.Join(d.Create("base", "", nil), d.CreateReadWrite("child", "base", nil), d.Cleanup(), Convert(t.Context(), home)))
		must(t, os.Mkdir(filepath.Join(home, "diff/left"), 0o700))
		problems, err := Check(t.Context(), home)
		if must(t, err); len(problems) != 1 || problems[0].Kind != Orphan || problems[0].Layer != "left" {
			t.Errorf("%v", problems)
		}
		if problems, err = Repair(t.Context(), home); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		for _, err := range []error{Convert(t.Context(), t.TempDir()), func() error { _, err := Check(t.Context(), t.TempDir()); return err }()} {
			wants(t, err, fs.ErrNotExist, "is no store")
		}
	})
}
