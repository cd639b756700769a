//go:build linux

package drivertest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"github.com/seed-642172e2/aufs/internal/core/aufsfs"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/bindmount"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/maintenance"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/overlayfs"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// withBase returns a store with the layer base, which has no parents and contains files that show the effect of mount options.
func withBase(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base")
	s.apply(t, "base", "", entry{Name: "f", Content: "f"}, entry{Name: "run", Content: "#!", Mode: 0o755}, entry{Name: "d/"})
	err := unix.Mknod(filepath.Join(s.inner.Home.Diff("base"), "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
	if nested, nerr := mountutil.InUserNamespace(); nerr != nil || !nested || !errors.Is(err, unix.EPERM) {
		must(t, errors.Join(err, nerr))
	}
	return s
}

// hasOptions fails the test unless the mount at dir, of withBase's layer, does what the options say and nothing else.
func hasOptions(t *testing.T, dir string, options []string) {
	t.Helper()
	asked := func(option string) bool {
		// As mount(2) says, strictatime overrides noatime.
		return slices.Contains(options, option) && (option != "noatime" || !slices.Contains(options, "strictatime"))
	}
	if err := os.WriteFile(filepath.Join(dir, "d/new"), nil, 0o600); errors.Is(err, unix.EROFS) != asked("ro") || !asked("ro") && err != nil {
		t.Errorf("%q: writing: %v", options, err)
	}
	if nested, err := mountutil.InUserNamespace(); err != nil || !nested {
		fd, err := unix.Open(filepath.Join(dir, "null"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EACCES) != asked("nodev") || !asked("nodev") && err != nil {
			t.Errorf("%q: opening a device: %v", options, err)
		}
		if err == nil {
			must(t, unix.Close(fd))
		}
	}
	if err := unix.Access(filepath.Join(dir, "run"), unix.X_OK); errors.Is(err, unix.EACCES) != asked("noexec") || !asked("noexec") && err != nil {
		t.Errorf("%q: running a file: %v", options, err)
	}
	m := mountAt(t, dir)
	shown := strings.Split(m.Options+","+m.VFSOptions, ",")
	for _, option := range []string{"ro", "nodev", "nosuid", "noexec", "noatime", "nodiratime", "dirsync"} {
		if slices.Contains(shown, option) != asked(option) {
			t.Errorf("%q: the mount has %q", options, shown)
		}
	}
	if asked("strictatime") && slices.Contains(shown, "relatime") {
		t.Errorf("%q: the mount has %q", options, shown)
	}
}

// mountAt returns the only mount at dir.
func mountAt(t *testing.T, dir string) *mountinfo.Info {
	t.Helper()
	mounts, err := mountutil.MountsHere(mountinfo.SingleEntryFilter(dir))
	must(t, err)
	if len(mounts) != 1 {
		t.Fatalf("the mounts at %s are %v", dir, mounts)
	}
	return mounts[0]
}

// baseOptions are options for which Get mounts a layer without parents, instead of returning its directory.
var baseOptions = [][]string{
	{"ro"},
	{"nodev"},
	{"nosuid"},
	{"noexec"},
	{"noatime"},
	{"nodiratime"},
	{"strictatime"},
	{"relatime"},
	{"noatime", "strictatime", "ro"},
	{"ro", "nodev", "nosuid", "noexec", "noatime"},
}

// TestBaseWithOptions mounts a layer without parents with each of several options, and tests them from inside the mount.
func TestBaseWithOptions(t *testing.T) {
	forEachBackend(t, baseWithOptions)
}

// TestBaseWithOptionsInUserNamespace does the same in a user namespace, where most flags that a bind mount copies are locked.
func TestBaseWithOptionsInUserNamespace(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		baseWithOptions(t, backend.Overlay)
		return
	}
	onOverlay(t, func(t *testing.T) {
		needKernel(t, 5, 11, "this kernel's overlayfs has no attributes of users")
		needUserXattrs(t) // In a user namespace, overlayfs keeps its marks in user.overlay.*.
		c := exec.Command("unshare", "-U", "-r", "-m", os.Args[0], "-test.run=^TestBaseWithOptionsInUserNamespace$", "-test.v")
		c.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+t.TempDir())
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestBaseWithOptionsInUserNamespace") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func baseWithOptions(t *testing.T, name backend.Name) {
	t.Helper()
	s := withBase(t, name)
	h := s.inner.Home
	for _, options := range append(slices.Clone(baseOptions), []string{"dirsync", "nodev"}) {
		dir := s.get(t, "base", options...)
		if dir != h.Mnt("base") {
			t.Errorf("%q: it is at %s", options, dir)
		}
		hasOptions(t, dir, options)
		if m := mountAt(t, dir); m.Optional != "" && !strings.HasPrefix(m.Optional, "master:") {
			t.Errorf("%q: it is not private: %s", options, m.Optional)
		}
		must(t, s.Put("base"))
		noMounts(t, h.Mnt(""))
	}
	for _, options := range [][]string{nil, {"rw"}, {"rw", "dev", "suid"}, {"udba=reval"}} {
		if dir := s.get(t, "base", options...); dir != h.Diff("base") {
			t.Errorf("%q: it is at %s", options, dir)
		}
		must(t, s.Put("base"))
	}
	// Options from storage.conf.
	other := openStore(t, string(h), name, withMountOptions("nodev"))
	hasOptions(t, other.get(t, "base"), []string{"nodev"})
	must(t, other.Put("base"))
	s.oneForm(t, "base")
	must(t, s.Remove("base"))
	noLeftovers(t, s)
}

// TestBindOnOldKernels makes bind mounts the way that works without mount_setattr(2).
func TestBindOnOldKernels(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := withBase(t, name)
		h := s.inner.Home
		for _, shared := range []bool{false, true} {
			if shared {
				must(t, unix.Mount("", string(h), "", unix.MS_SHARED, ""))
			}
			for _, options := range baseOptions {
				o, err := backend.ParseMountOptions(options)
				must(t, err)
				must(t, bindmount.MountOld(h, h.Diff("base"), h.Mnt("base"), o.Flags))
				hasOptions(t, h.Mnt("base"), options)
				must(t, mountutil.UnmountRetry(h.Mnt("base")))
			}
		}
		wants(t, bindmount.MountOld(h, h.Diff("nothing"), h.Mnt("base"), unix.MS_RDONLY), unix.ENOENT, "nothing")
		noMounts(t, h.Mnt(""))
		must(t, unix.Mount("", string(h), "", unix.MS_PRIVATE, ""))
		must(t, s.Remove("base"))
		noLeftovers(t, s)
	})
}

func TestRemountFlags(t *testing.T) {
	const always = unix.MS_REMOUNT | unix.MS_BIND
	for _, c := range []struct {
		flags uintptr
		has   int64
		want  uintptr
	}{
		{unix.MS_RDONLY, 0, unix.MS_RDONLY},
		{unix.MS_NODEV, unix.ST_NOSUID | unix.ST_NOEXEC | unix.ST_RELATIME | 0x20, unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC},
		{unix.MS_NOATIME, unix.ST_RDONLY | unix.ST_NODEV | unix.ST_NOATIME, unix.MS_NOATIME | unix.MS_RDONLY | unix.MS_NODEV},
	} {
		if got := bindmount.RemountFlags(c.flags, c.has); got != c.want|always {
			t.Errorf("%#x on %#x: %#x, not %#x", c.flags, c.has, got, c.want|always)
		}
	}
}

// TestBaseUsers has some users hold a layer without parents as a directory, and others as a mount.
func TestBaseUsers(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := withBase(t, name)
		h := s.inner.Home
		is := func(want bool) {
			t.Helper()
			if mounted, err := mountutil.IsMounted(h.Mnt("base")); err != nil || mounted != want {
				t.Errorf("it is mounted: %t, %v", mounted, err)
			}
		}
		writable := s.get(t, "base")
		readOnly := s.get(t, "base", "ro")
		if again := s.get(t, "base"); again != h.Diff("base") || writable != again || readOnly != h.Mnt("base") {
			t.Errorf("it is at %s, %s and %s", writable, readOnly, again)
		}
		write(t, writable, files{"new": "new"})
		if content, err := os.ReadFile(filepath.Join(readOnly, "new")); err != nil || string(content) != "new" {
			t.Errorf("the mount shows %q, %v", content, err)
		}
		metadata, err := s.Metadata("base")
		if err != nil || metadata["MergedDir"] != readOnly || metadata["UpperDir"] != writable {
			t.Errorf("%v, %v", metadata, err)
		}
		if problems, err := maintenance.Check(t.Context(), string(h)); err != nil || len(problems) > 0 {
			t.Errorf("Check: %v, %v", problems, err)
		}
		sameNames(t, keysOf(s.diff(t, "base", "")), "f", "run", "d/", "null", "new")
		s.apply(t, "base", "", entry{Name: "later", Content: "x"})
		for range 2 {
			must(t, s.Put("base"))
			is(true)
		}
		must(t, s.Put("base"))
		is(false)

		// The driver other, which stands for another process, mounts the layer, and s also uses the layer for a while.
		other, err := reopen(string(h), name)
		must(t, err)
		other.get(t, "base", "ro")
		s.get(t, "base", "ro")
		s.get(t, "base")
		must(t, s.Put("base"))
		must(t, s.Put("base"))
		is(true)
		must(t, other.Put("base"))
		is(false)
		// Here other stands for a process that has died after its Get, or has just ended. A Put by s unmounts the layer.
		other.get(t, "base", "ro")
		must(t, s.Put("base"))
		is(false)
		must(t, other.Put("base"))

		// An open file keeps the mount.
		f, err := os.Open(filepath.Join(s.get(t, "base", "ro"), "f"))
		must(t, err)
		wants(t, s.Put("base"), unix.EBUSY, "base", f.Name())
		is(true)
		must(t, f.Close())
		must(t, s.Put("base"))
		is(false)
		// Cleanup and Remove unmount the layer, whoever has mounted it.
		s.get(t, "base", "nodev")
		must(t, other.Cleanup())
		is(false)
		must(t, s.Put("base"))
		s.get(t, "base", "ro")
		must(t, s.Cleanup())
		is(false)
		s.get(t, "base", "ro")
		must(t, s.Remove("base"))
		noLeftovers(t, s)
		s.create(t, "", "base")
		s.get(t, "base", "ro")
		must(t, s.Put("base"))
		is(false)
	})
}

// TestBaseWrittenThroughMount writes to a layer without parents through a mount, after a layer on top of it was mounted. This invalidates
// what the driver has cached about the layer.
func TestBaseWrittenThroughMount(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := withBase(t, name)
		s.create(t, "base", "child")
		s.see(t, "child")
		dir := s.get(t, "base", "nodev")
		write(t, dir, files{".wh.gone": "", "d/.wh..wh..opq": ""})
		must(t, s.Put("base"))
		s.create(t, "child", "top")
		sameNames(t, s.see(t, "top").Names(), "f", "run", "null", "d")
		sameNames(t, s.see(t, "child", "ro").Names(), "f", "run", "null", "d")
	})
}

// TestBaseOfTheBackend has the backend mount a layer without parents, as the driver does for a mount label: a bind mount cannot have a
// label.
func TestBaseOfTheBackend(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := withBase(t, name)
		h := s.inner.Home
		target := h.Mnt("base")
		before := readTree(t, h.Diff("base"))
		for _, options := range [][]string{{"ro", "nodev"}, {"nosuid"}} {
			o, err := backend.ParseMountOptions(options)
			must(t, err)
			must(t, s.inner.Mount(s.inner.Stores.Own("base"), nil, o, ""))
			hasOptions(t, target, options)
			if m := mountAt(t, target); m.FSType != string(name) {
				t.Errorf("it is of the type %s", m.FSType)
			}
			if options[0] == "ro" {
				sameTree(t, readTree(t, target), before)
			}
			must(t, s.Put("base"))
			noMounts(t, h.Mnt(""))
			s.oneForm(t, "base")
		}
		// Write through the mount. Aufs leaves files of its own in the layer.
		must(t, s.inner.Mount(s.inner.Stores.Own("base"), nil, backend.MountOptions{}, ""))
		must(t, os.Remove(filepath.Join(target, "run")))
		write(t, target, files{"d/more": "more"})
		must(t, s.Cleanup())
		sameNames(t, readTree(t, h.Diff("base")).Names(), "f", "null", "d", "d/new", "d/more")
		noLeftovers(t, s)
	})
}

// TestBaseWithLabel shows that the driver passes the label of a layer without parents to the kernel. If the kernel refuses the label, Get
// fails: the driver never drops a label silently.
func TestBaseWithLabel(t *testing.T) {
	const label = "system_u:object_r:container_file_t:s0:c1,c2"
	m := overlayfs.Mount{Lowers: []string{"/diff/base", "/empty"}, Flags: unix.MS_RDONLY, Label: label}
	if data, fits := m.PlainData(); !fits || !strings.Contains(data, `context="`+label+`"`) || !strings.HasPrefix(data, "lowerdir=/diff/base:/empty,") {
		t.Errorf("overlayfs gets %q, %t", data, fits)
	}
	calls, err := aufsfs.Calls(backend.BranchesOf(stackOf(true, "/diff/base"), ""), []string{"dio"}, mountutil.ContextOption(label), 4095)
	must(t, err)
	if len(calls) != 1 || !strings.Contains(calls[0].Data, `context="`+label+`"`) || !strings.Contains(calls[0].Data, "br:/diff/base=ro") {
		t.Errorf("aufs gets %+v", calls)
	}
	onOverlay(t, func(t *testing.T) {
		s := withBase(t, backend.Overlay)
		for _, options := range [][]string{{"ro"}, nil} {
			dir, err := s.Get("base", driver.GetOptions{MountLabel: label, Options: options})
			if _, serr := os.Stat("/sys/fs/selinux/enforce"); serr != nil {
				wants(t, err, unix.EINVAL, "base", label)
				continue
			}
			must(t, err)
			got := make([]byte, 256)
			n, err := unix.Lgetxattr(filepath.Join(dir, "f"), "security.selinux", got)
			if err != nil || strings.TrimRight(string(got[:n]), "\x00") != label {
				t.Errorf("the label of a file is %q, %v", got[:max(n, 0)], err)
			}
			must(t, s.Put("base"))
		}
		noMounts(t, s.inner.Home.Mnt(""))
		s.oneForm(t, "base")
	})
}

// TestBaseKeepsForeignFiles puts files of others, under aufs's own names, into a layer without parents. A mount by a backend loses none of
// them.
func TestBaseKeepsForeignFiles(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for what, mounted := range map[string]bool{"by its directory": false, "by a mount": true} {
			if mounted && name == backend.Aufs {
				// Aufs lets nobody make files with these names.
				continue
			}
			t.Run(what, func(t *testing.T) {
				s := newStore(t, name)
				h := s.inner.Home
				s.create(t, "", "base")
				dir := h.Diff("base")
				if mounted {
					dir = s.get(t, "base", "dirsync")
				}
				write(t, dir, files{whiteout.Base: "own", ".wh..wh.other": "other", whiteout.PseudoLinkDir + "/f": "plink", whiteout.OrphanDir + "/f": "orphan"})
				if mounted {
					must(t, s.Put("base"))
				}
				s.get(t, "base", "dirsync")
				must(t, s.Put("base"))
				var contents []string
				for path := range readTree(t, h.Diff("base")) {
					if content, err := os.ReadFile(filepath.Join(h.Diff("base"), path)); err == nil {
						contents = append(contents, string(content))
					}
				}
				sameNames(t, contents, "own", "other", "plink", "orphan")
			})
		}
	})
}
