//go:build linux && (amd64 || arm64)

package aufs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/idtools"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/differential/library"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
	"golang.org/x/sys/unix"
)

// get is Get without options.
func (s *errorStore) get(id string, options ...string) error {
	_, err := s.Get(id, graphdriver.MountOpts{Options: options})
	return err
}

// mounted gets the layer id and returns the directory.
func (s *errorStore) mounted(id string) string {
	s.T.Helper()
	dir, err := s.Get(id, graphdriver.MountOpts{})
	must(s.T, err)
	return dir
}

// apply is ApplyDiff.
func (s *errorStore) apply(id, parent string, archive io.Reader) error {
	_, err := library.ApplyTo(s.Driver, id, parent, graphdriver.ApplyDiffOpts{Diff: archive})
	return err
}

// damage writes content to the file of the layer's parents.
func (s *errorStore) damage(id, content string) {
	s.T.Helper()
	must(s.T, os.WriteFile(s.in("layers", id), []byte(content), 0o600))
}

// onSmallDisk replaces the store by a new one on a tmpfs, which has no quotas of projects.
func (s *errorStore) onSmallDisk() (disk string) {
	s.T.Helper()
	s.close()
	disk = filepath.Join(filepath.Dir(s.home), "disk")
	s.mountTmpfs(disk)
	*s = *newErrorStore(s.T, disk, s.name)
	return disk
}

// onFullDisk replaces the store by a new one on a disk that has no space left.
func (s *errorStore) onFullDisk() {
	s.T.Helper()
	disk := s.onSmallDisk()
	f, err := os.Create(filepath.Join(disk, "filler"))
	must(s.T, err)
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	must(s.T, f.Close())
}

// held mounts the layer id, and opens its file f, which keeps the mount busy until the store is closed.
func (s *errorStore) held(id string, options ...string) {
	s.T.Helper()
	dir, err := s.Get(id, graphdriver.MountOpts{Options: options})
	must(s.T, err)
	f, err := os.Open(filepath.Join(dir, "f"))
	must(s.T, err)
	s.onClose = append(s.onClose, f.Close)
}

// damagedErrors are the errors of a store in which somebody, or a broken disk, has changed something.
func damagedErrors() []errorText {
	row := func(name string, provoke func(s *errorStore) error, is []error, words ...string) errorText {
		return errorText{name: name, words: words, is: is, provoke: provoke}
	}
	damaged := []error{ErrDamaged}
	written := func(content string) func(s *errorStore) error {
		return func(s *errorStore) error {
			s.damage("child", content)
			return s.get("child")
		}
	}
	return []errorText{
		row("an unknown parent in a file", written("none\n"), damaged, "mounting layer child", "HOME/layers/child", "none"),
		row("a layer that is its own parent", written("child\n"), damaged, "mounting layer child", "HOME/layers/child"),
		row("other ancestors than the parent", written("base\nsibling\n"), damaged, "mounting layer child", "HOME/layers/child", "HOME/layers/base"),
		row("a bad name in a file", written("a/b\n"), damaged, "mounting layer child", "HOME/layers/child", "a/b"),
		row("a record of no form", func(s *errorStore) error {
			must(s.T, os.RemoveAll(s.in("overlay/form/child")))
			must(s.T, os.MkdirAll(s.in("overlay/form"), 0o700))
			must(s.T, os.Symlink("green", s.in("overlay/form/child")))
			return s.get("child")
		}, damaged, "mounting layer child", "HOME/overlay/form/child"),
		row("a record of no quota", func(s *errorStore) error {
			must(s.T, os.MkdirAll(s.in("overlay/quota"), 0o700))
			must(s.T, os.Symlink("green", s.in("overlay/quota/child")))
			return s.get("child")
		}, damaged, "mounting layer child", "HOME/overlay/quota/child"),
		row("a file in the place of a record of a form", func(s *errorStore) error {
			must(s.T, os.RemoveAll(s.in("overlay/form/child")))
			write(s.T, s.home, files{"overlay/form/child": ""})
			return s.get("child")
		}, damaged, "mounting layer child", "HOME/overlay/form/child"),
		row("a file in the place of a record of a quota", func(s *errorStore) error {
			write(s.T, s.home, files{"overlay/quota/child": ""})
			return s.get("child")
		}, damaged, "mounting layer child", "HOME/overlay/quota/child"),
		row("a record of owners that is cut short", func(s *errorStore) error {
			write(s.T, s.home, files{"overlay/owners/child": "\x20cut"})
			return s.UpdateLayerIDMap("child", nil, nil, "")
		}, damaged, "changing the owners in layer child", "HOME/overlay/owners/child"),
		row("a layer without a directory", func(s *errorStore) error {
			must(s.T, os.Remove(s.in("diff/child")))
			return s.get("child")
		}, []error{fs.ErrNotExist}, "mounting layer child", "HOME/diff/child"),
		row("a parent without a directory", func(s *errorStore) error {
			must(s.T, os.Rename(s.in("diff/base"), s.in("diff/gone")))
			return s.get("child")
		}, []error{fs.ErrNotExist}, "mounting layer child", "HOME/diff/base"),
		row("a link in the place of a layer", func(s *errorStore) error {
			must(s.T, os.Remove(s.in("diff/child")))
			must(s.T, os.Symlink("/etc", s.in("diff/child")))
			return s.get("child")
		}, []error{unix.ENOTDIR}, "mounting layer child", "HOME/diff/child"),
		row("a file in the place of a mount point", func(s *errorStore) error {
			must(s.T, os.Remove(s.in("mnt/child")))
			write(s.T, s.home, files{"mnt/child": ""})
			return s.get("child")
		}, []error{unix.ENOTDIR}, "mounting layer child", "HOME/mnt/child"),
		row("no list of layers", func(s *errorStore) error {
			must(s.T, os.Rename(s.in("layers"), s.in("elsewhere")))
			_, err := s.ListLayers()
			return err
		}, []error{fs.ErrNotExist}, "listing the layers", "HOME/layers"),
	}
}

// shiftingErrors are errors of mounts with id maps.
func shiftingErrors() []errorText {
	const child = "mounting layer child"
	maps := func(first, size int) []idtools.IDMap { return []idtools.IDMap{{HostID: first, Size: size}} }
	get := func(s *errorStore, uids, gids []idtools.IDMap, options ...string) error {
		_, err := s.Get("child", graphdriver.MountOpts{UidMaps: uids, GidMaps: gids, Options: options})
		return err
	}
	bad := func(name string, uids, gids []idtools.IDMap, words ...string) errorText {
		return errorText{
			name: name, words: append(words, child), harmless: true, provoke: func(s *errorStore) error { return get(s, uids, gids) },
		}
	}
	good := maps(100_000, 10)
	var many []idtools.IDMap
	for n := range 341 {
		many = append(many, idtools.IDMap{ContainerID: n, HostID: 100_000 + 2*n, Size: 1})
	}
	// shifted mounts the layer with id maps, and leaves a file in it.
	shifted := func(s *errorStore) {
		must(s.T, get(s, good, good))
		must(s.T, errors.Join(os.WriteFile(s.in("mnt/child/new"), nil, 0o600), s.Put("child")))
	}
	return []errorText{
		bad("maps that overlap", append(maps(100_000, 10), idtools.IDMap{ContainerID: 10, HostID: 100_009, Size: 10}), good, "overlap"),
		bad("an empty map", good, maps(100_000, 0), "0:100000:0"),
		bad("a map of too many ids", good, maps(100_000, 1<<32), "ids that there are"),
		bad("a map of too many ranges", many, good, "341 ranges"),
		bad("maps without users", nil, good, "no users"),
		bad("maps without groups", good, nil, "no groups"),
		bad("maps without root", []idtools.IDMap{{ContainerID: 1, HostID: 100_000, Size: 10}}, good, "root"),
		{
			name: "maps on aufs", only: backend.Aufs, words: []string{child, "backend=aufs"}, is: []error{graphdriver.ErrNotSupported},
			provoke: func(s *errorStore) error { return get(s, good, good) },
		},
		{
			name: "maps that the kernel refuses", only: backend.Overlay, words: []string{child, "HOME/diff"}, is: []error{unix.EPERM},
			provoke: func(s *errorStore) error { return get(s, good, good) },
			child:   childProcess{denied: []uintptr{unix.SYS_MOUNT_SETATTR}, errno: unix.EPERM, opened: true},
		},
		{
			name: "maps for a layer that has files", words: []string{child, "HOME/diff/child", "mine"},
			provoke: func(s *errorStore) error {
				must(s.T, os.WriteFile(s.in("diff/child/mine"), nil, 0o600))
				return get(s, good, good)
			},
		},
		{
			name: "other maps", only: backend.Overlay, shifts: true, words: []string{child, "HOME/diff/child"},
			provoke: func(s *errorStore) error {
				shifted(s)
				return get(s, maps(200_000, 10), maps(200_000, 10), "ro")
			},
		},
		{
			name: "maps for a layer with two kinds of owners", words: []string{child, "HOME/diff/child", "cut short"},
			provoke: func(s *errorStore) error {
				write(s.T, s.home, files{"overlay/owners/child": "plan"})
				return get(s, good, good)
			},
		},
		{
			name: "maps for a mounted layer", only: backend.Overlay, words: []string{child, "HOME/mnt/child"},
			provoke: func(s *errorStore) error {
				must(s.T, s.get("child"))
				return get(s, good, good)
			},
		},
		{
			name: "disabled shifting", only: backend.Overlay, shifts: true, words: []string{child, "HOME/diff/child"},
			provoke: func(s *errorStore) error {
				shifted(s)
				_, err := s.Get("child", graphdriver.MountOpts{UidMaps: good, GidMaps: good, DisableShifting: true})
				return err
			},
		},
		{
			name: "changing the owners of a shifted layer", only: backend.Overlay, shifts: true, words: []string{"changing the owners in layer child", "HOME/diff/child"},
			provoke: func(s *errorStore) error {
				shifted(s)
				return s.UpdateLayerIDMap("child", &idtools.IDMappings{}, idtools.NewIDMappingsFromMaps(good, good), "")
			},
		},
		{
			name: "a damaged record of owners", words: []string{child, "HOME/overlay/ids/child"}, is: []error{ErrDamaged},
			provoke: func(s *errorStore) error {
				must(s.T, errors.Join(os.MkdirAll(s.in("overlay/ids"), 0o700), os.WriteFile(s.in("overlay/ids/child"), []byte("green"), 0o600)))
				return s.get("child")
			},
		},
		{
			name: "a record of owners without groups", words: []string{child, "HOME/overlay/ids/child"}, is: []error{ErrDamaged},
			provoke: func(s *errorStore) error {
				write(s.T, s.home, files{"overlay/ids/child": "shifted\nuid 0:100000:10\nend\n"})
				return s.get("child")
			},
		},
	}
}

// mountingErrors are the errors of Get.
func mountingErrors() []errorText {
	const child = "mounting layer child"
	rows := []errorText{
		{
			name: "mount an unknown layer", words: []string{"mounting layer none"}, is: []error{graphdriver.ErrLayerUnknown},
			provoke: func(s *errorStore) error { return s.get("none") }, harmless: true,
		},
		{
			name: "a mount that the kernel refuses", only: backend.Overlay, words: []string{child, "HOME/mnt/child"}, is: []error{unix.EIO},
			provoke: func(s *errorStore) error { return s.get("child") },
			child:   childProcess{denied: mountCalls, errno: unix.EIO, opened: true},
		},
		{
			name: "a mount of aufs that the kernel refuses", only: backend.Aufs, words: []string{child, "HOME/mnt/child"}, is: []error{unix.EIO},
			provoke: func(s *errorStore) error { return s.get("child") },
			child:   childProcess{denied: mountCalls, errno: unix.EIO, opened: true},
		},
		{
			name: "mount with a label", only: backend.Overlay, words: []string{child, "HOME/mnt/child"}, is: []error{unix.EINVAL},
			provoke: func(s *errorStore) error {
				_, err := s.Get("child", graphdriver.MountOpts{MountLabel: "no:label:at:all"})
				return err
			},
		},
		{
			name: "a device that overlayfs takes for a whiteout", only: backend.Overlay, words: []string{child, "HOME/diff/base/null"},
			provoke: func(s *errorStore) error {
				must(s.T, unix.Mknod(s.in("diff/base/null"), unix.S_IFCHR, 0))
				return s.get("child")
			},
		},
		{
			name: "a whiteout that aufs cannot show", only: backend.Aufs, words: []string{child, "layer base", "NAME"}, is: []error{unix.ENAMETOOLONG},
			provoke: func(s *errorStore) error {
				s.deleteOnOverlay("base", tooLong)
				return s.get("child")
			},
		},
		{
			name: "a whiteout that aufs cannot have", only: backend.Aufs, words: []string{child, "HOME/diff/child/NAME"}, is: []error{unix.ENAMETOOLONG},
			provoke: func(s *errorStore) error {
				s.deleteOnOverlay("child", tooLong)
				return s.get("child")
			},
		},
		{
			name: "too many layers for overlayfs", only: backend.Overlay, words: []string{"mounting layer l600"}, is: []error{unix.EINVAL},
			provoke: func(s *errorStore) error { return s.tooDeep(600) },
		},
		{
			name: "too many layers for aufs", only: backend.Aufs, words: []string{"mounting layer l1100"}, is: []error{unix.ENOSPC},
			provoke: func(s *errorStore) error {
				s.T.Cleanup(wire.ExpectMessages("number of branches exceeded"))
				err := s.tooDeep(1100)
				if err == nil {
					s.T.Skip("this kernel's aufs allows more branches")
				}
				return err
			},
		},
	}
	for _, option := range []string{"metacopy=on", "xino=/x", "dev,nodev"} {
		rows = append(rows, errorText{
			name: "mount with " + option, words: []string{child, "mount option"}, provoke: func(s *errorStore) error { return s.get("child", option) },
			harmless: true,
		})
	}
	return rows
}

// tooDeep mounts a layer on top of so many layers.
func (s *errorStore) tooDeep(deep int) error {
	var parents string
	for n := range deep + 1 {
		id := fmt.Sprintf("l%d", n)
		write(s.T, s.home, files{"layers/" + id: parents, "diff/" + id + "/": "", "mnt/" + id + "/": ""})
		parents = id + "\n" + parents
	}
	return s.get(fmt.Sprintf("l%d", deep))
}

// tooLong is a name that is too long for a whiteout of aufs.
var tooLong = strings.Repeat("n", 253)

// deleteOnOverlay makes the layer id as the overlay backend leaves it if a container has deleted the file name.
func (s *errorStore) deleteOnOverlay(id, name string) {
	s.T.Helper()
	must(s.T, unix.Mknod(s.in("diff", id, name), unix.S_IFCHR, 0))
	must(s.T, os.MkdirAll(s.in("overlay/form"), 0o700))
	must(s.T, errors.Join(os.RemoveAll(s.in("overlay/form", id)), os.Symlink("trusted", s.in("overlay/form", id))))
}

// keepElsewhere has a process keep the mounts of the store in a mount namespace of its own until the test ends.
func (s *errorStore) keepElsewhere() {
	s.T.Helper()
	c := exec.Command("unshare", "-m", "sleep", "1000")
	must(s.T, c.Start())
	s.T.Cleanup(func() {
		must(s.T, c.Process.Kill())
		_ = c.Wait() // it was killed
	})
	for {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.Process.Pid))
		if must(s.T, err); string(comm) == "sleep\n" {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// unmountingErrors are the errors of Put and Cleanup.
func unmountingErrors() []errorText {
	busy := []error{unix.EBUSY}
	return []errorText{
		{
			name: "unmount an unknown layer", words: []string{"unmounting layer none", "HOME/layers/none"}, is: []error{fs.ErrNotExist},
			provoke: func(s *errorStore) error { return s.Put("none") }, harmless: true,
		},
		{
			name: "unmount a busy layer", words: []string{"unmounting layer child", "HOME/mnt/child", "process"}, is: busy,
			provoke: func(s *errorStore) error {
				s.held("child")
				return s.Put("child")
			},
		},
		{
			name: "unmount a layer with a mount inside", words: []string{"unmounting layer child", "HOME/mnt/child/d"}, is: busy,
			provoke: func(s *errorStore) error {
				s.mounted("child")
				s.mountTmpfs(s.in("mnt/child/d"))
				return s.Put("child")
			},
		},
		{
			name: "clean up a busy layer", words: []string{"cleaning up", "HOME/mnt/child", "process"}, is: busy,
			provoke: func(s *errorStore) error {
				s.held("child")
				return s.Cleanup()
			},
		},
	}
}

// applyingErrors are the errors of ApplyDiff.
func applyingErrors() []errorText {
	row := func(name string, archive func(s *errorStore) io.Reader, words ...string) errorText {
		return errorText{
			name: name, words: append(words, "applying a diff to layer child"),
			provoke: func(s *errorStore) error { return s.apply("child", "base", archive(s)) },
		}
	}
	header := func(s *errorStore, h tar.Header) io.Reader { return bytes.NewReader(storetest.HeadersOf(s.T, &h)) }
	rows := []errorText{
		row("apply nothing", func(*errorStore) io.Reader { return nil }),
		row("apply an archive that is cut short", func(s *errorStore) io.Reader {
			content := archiveBytes(s.T, entry{Name: "big", Content: strings.Repeat("x", 1<<16)})
			return bytes.NewReader(content[:1<<15])
		}),
		row("apply what is no archive", func(*errorStore) io.Reader { return strings.NewReader(strings.Repeat("no archive ", 1000)) }),
		row("apply a reader that fails", func(*errorStore) io.Reader { return failingReader{} }, "the network is gone"),
		row("apply a long header", func(s *errorStore) io.Reader { return &repeated{content: longHeader(s)} }),
		row("apply a root directory with content", func(s *errorStore) io.Reader { return archiveOf(s.T, entry{Name: ".", Content: "x"}) }),
		row("apply many directories", func(s *errorStore) io.Reader { return &repeated{content: manyDirectories(s)} }),
		row("apply a link to nothing", func(s *errorStore) io.Reader {
			return header(s, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "none"})
		}),
		row("apply an attribute that no file can have", func(s *errorStore) io.Reader {
			return header(s, tar.Header{Name: "f", Typeflag: tar.TypeReg, PAXRecords: map[string]string{layertar.PaxXattr + "user.big": strings.Repeat("v", 1<<17)}})
		}),
		row("apply to a full disk", func(s *errorStore) io.Reader {
			s.onFullDisk()
			return archiveOf(s.T, entry{Name: "big", Content: strings.Repeat("x", 1<<17)})
		}, "no space left"),
		row("apply to a layer with files on a full disk", func(s *errorStore) io.Reader {
			s.onFullDisk()
			write(s.T, s.in("diff/child"), files{"d/": ""})
			return archiveOf(s.T, entry{Name: "big", Content: strings.Repeat("x", 1<<17)})
		}, "no space left"),
		row("apply to a layer with files what is cut short", func(s *errorStore) io.Reader {
			write(s.T, s.in("diff/child"), files{"mine": ""})
			content := archiveBytes(s.T, entry{Name: "big", Content: strings.Repeat("x", 1<<16)})
			return bytes.NewReader(content[:1<<15])
		}),
		row("apply without a root directory", nil, "unshare"),
	}
	last := len(rows) - 1
	rows[last].child = childProcess{denied: []uintptr{unix.SYS_UNSHARE}, errno: unix.EPERM, opened: true}
	rows[last].provoke = func(s *errorStore) error { return s.apply("child", "base", archiveOf(s.T, entry{Name: "f"})) }
	return append(rows, errorText{
		name: "apply to an unknown layer", words: []string{"applying a diff to layer none"}, is: []error{graphdriver.ErrLayerUnknown},
		provoke: func(s *errorStore) error { return s.apply("none", "", archiveOf(s.T)) },
	}, errorText{
		name: "apply while somebody writes", words: []string{"applying a diff to layer alone"},
		provoke: func(s *errorStore) error {
			must(s.T, s.Create("alone", "", nil))
			return s.apply("alone", "", io.MultiReader(archiveOf(s.T, entry{Name: "f"}), readerFunc(func() { write(s.T, s.in("diff/alone"), files{"mine": ""}) })))
		},
	}, errorText{
		name: "apply to a layer that cannot be mounted", words: []string{"applying a diff to layer child", "HOME/mnt/child"}, is: []error{unix.ENOTDIR},
		provoke: func(s *errorStore) error {
			write(s.T, s.in("diff/child"), files{"mine": ""})
			must(s.T, os.Remove(s.in("mnt/child")))
			write(s.T, s.home, files{"mnt/child": ""})
			return s.apply("child", "base", archiveOf(s.T))
		},
	})
}

// failingReader is an archive that cannot be read.
type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the network is gone") }

// readerFunc is a reader of nothing, which calls a function when it is read.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// repeated is content without an end.
type repeated struct {
	content []byte
	at      int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.content[r.at:])
	r.at = (r.at + n) % len(r.content)
	return n, nil
}

// longHeader returns an extended header without the directory that it is for. Repeated, it is an archive of
// extended headers alone.
func longHeader(s *errorStore) []byte {
	h := tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"X.c": strings.Repeat("v", 1<<19)}}
	content := storetest.HeadersOf(s.T, &h)
	return content[:len(content)-1024-512]
}

// manyDirectories returns a directory with a long extended header.
func manyDirectories(s *errorStore) []byte {
	h := tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{"X.c": strings.Repeat("v", 1<<19)}}
	content := storetest.HeadersOf(s.T, &h)
	return content[:len(content)-1024]
}

// stagingErrors are the errors of what is unpacked before it is in a layer.
func stagingErrors() []errorText {
	row := func(name string, provoke func(s *errorStore) error, is []error, words ...string) errorText {
		return errorText{name: name, words: words, is: is, provoke: provoke}
	}
	staged := func(s *errorStore) graphdriver.DriverWithDifferOutput {
		out, err := differOf(s.T, s.Driver).ApplyDiffWithDiffer(nil, untarDiffer{content: archiveBytes(s.T, entry{Name: "n"})})
		must(s.T, err)
		return out
	}
	applied := func(id, parent string, prepare func(s *errorStore, target string) string) func(s *errorStore) error {
		return func(s *errorStore) error {
			out := staged(s)
			out.Target = prepare(s, out.Target)
			return differOf(s.T, s.Driver).ApplyDiffFromStagingDirectory(id, parent, &out, nil)
		}
	}
	asIs := func(_ *errorStore, target string) string { return target }
	shifted := func(s *errorStore, target string) string {
		write(s.T, s.home, files{"overlay/ids/child": "shifted\nuid 0:100000:10\ngid 0:100000:10\nend\n"})
		return target
	}
	nowhere := func(s *errorStore, _ string) string { return s.in("tmp/staging-1/root") }
	return []errorText{
		row("fill with a differ that fails", func(s *errorStore) error {
			_, err := differOf(s.T, s.Driver).ApplyDiffWithDiffer(nil, untarDiffer{content: archiveBytes(s.T, entry{Name: "../n"})})
			return err
		}, nil, "filling the staging directory HOME/tmp/staging-N/root"),
		row("apply a staging directory to an unknown layer", applied("none", "", asIs), []error{graphdriver.ErrLayerUnknown}, "applying a staging directory to layer none"),
		row("apply a staging directory on another parent", applied("child", "sibling", asIs), nil, "applying a staging directory to layer child", "sibling"),
		row("apply a staging directory to a layer with files", applied("base", "", asIs), nil, "applying a staging directory to layer base"),
		row("apply a staging directory that is gone", applied("child", "base", nowhere), []error{fs.ErrNotExist}, "applying a staging directory to layer child", "HOME/tmp/staging-N/root"),
		row("apply a staging directory to a layer with id maps", applied("child", "base", shifted), nil, "applying a staging directory to layer child", "id maps"),
		row("remove what is no staging directory", func(s *errorStore) error {
			return differOf(s.T, s.Driver).CleanupStagingDirectory(s.in("diff/base"))
		}, nil, "HOME/diff/base", "removing the staging directory"),
		row("remove the staging directory of another driver", func(s *errorStore) error {
			return s.core.CleanupStagingDirectory(staged(s).Target)
		}, nil, "HOME/tmp/staging-N/root", "removing the staging directory"),
		row("stage nothing", func(s *errorStore) error {
			_, _, err := s.core.StageLayer("", driver.ApplyOptions{})
			return err
		}, nil, "staging a layer"),
		row("stage on an unknown layer", func(s *errorStore) error {
			_, _, err := s.core.StageLayer("none", driver.ApplyOptions{Diff: archiveOf(s.T)})
			return err
		}, nil, "staging a layer on top of layer none"),
		row("commit what was not staged", func(s *errorStore) error { return s.core.CommitLayer("child", s.in("tmp/staging-1/root")) },
			[]error{fs.ErrNotExist}, "committing a staged layer to layer child", "HOME/tmp/staging-N/root"),
		row("commit to a layer with id maps", func(s *errorStore) error {
			target, _, err := s.core.StageLayer("base", driver.ApplyOptions{Diff: archiveOf(s.T)})
			must(s.T, err)
			return s.core.CommitLayer("child", shifted(s, target))
		}, nil, "committing a staged layer to layer child", "id maps"),
	}
}

// readingErrors are the errors of Diff, Changes and the like.
func readingErrors() []errorText {
	row := func(name string, provoke func(s *errorStore) error, is []error, words ...string) errorText {
		return errorText{name: name, words: words, is: is, provoke: provoke}
	}
	unknown := []error{graphdriver.ErrLayerUnknown}
	harmless := func(row errorText) errorText {
		row.harmless = true
		return row
	}
	diff := func(s *errorStore, id, parent string, maps *idtools.IDMappings) error {
		r, err := s.Diff(id, maps, parent, maps, "")
		if err != nil {
			return err
		}
		return drain(r)
	}
	read := func(s *errorStore, id, name string) error {
		getter, err := s.Driver.(graphdriver.DiffGetterDriver).DiffGetter(id) //nolint:forcetypeassert // it is one
		if err != nil {
			return err
		}
		_, err = getter.Get(name)
		return errors.Join(err, getter.Close())
	}
	ids := []idtools.IDMap{{HostID: 1000, Size: 10}}
	few := idtools.NewIDMappingsFromMaps(ids, ids)
	return []errorText{
		harmless(row("archive an unknown layer", func(s *errorStore) error { return diff(s, "none", "", nil) }, unknown, "archiving layer none")),
		harmless(row("compare an unknown layer", func(s *errorStore) error {
			_, err := s.Changes("none", nil, "", nil, "")
			return err
		}, unknown, "comparing layer none")),
		harmless(row("measure an unknown layer", func(s *errorStore) error {
			_, err := s.DiffSize("none", nil, "", nil, "")
			return err
		}, unknown, "measuring layer none")),
		harmless(row("read files of an unknown layer", func(s *errorStore) error { return read(s, "none", "f") }, unknown, "reading layer none")),
		harmless(row("describe an unknown layer", func(s *errorStore) error {
			_, err := s.Metadata("none")
			return err
		}, unknown, "describing layer none")),
		row("archive a damaged layer", func(s *errorStore) error {
			s.damage("child", "none\n")
			return diff(s, "child", "base", nil)
		}, []error{ErrDamaged}, "archiving layer child", "HOME/layers/child"),
		{
			name: "archive an attribute that no archive can have", words: []string{"archiving layer base", "HOME/diff/base/f"}, xattrs: true,
			provoke: func(s *errorStore) error {
				must(s.T, fsutil.PathXattrs(s.in("diff/base/f")).Set("user.a=b", []byte("v"), 0))
				return diff(s, "base", "", nil)
			},
		},
		row("archive an owner who is not in the mapping", func(s *errorStore) error { return diff(s, "base", "", few) }, nil, "archiving layer base", "HOME/diff/base"),
		row("archive a layer that is removed meanwhile", func(s *errorStore) error {
			write(s.T, s.in("diff/base"), files{"big": strings.Repeat("x", 1<<22)})
			r, err := s.Diff("base", nil, "", nil, "")
			must(s.T, err)
			must(s.T, errors.Join(s.Remove("child"), s.Remove("sibling"), s.Remove("base")))
			return drain(r)
		}, unknown, "archiving layer base"),
		harmless(row("read a file that is not there", func(s *errorStore) error { return read(s, "base", "none") }, []error{fs.ErrNotExist}, "layer base", "HOME/diff/base/none")),
		harmless(row("read a directory", func(s *errorStore) error { return read(s, "base", "d") }, nil, "layer base", "HOME/diff/base/d")),
		harmless(row("change owners of an unknown layer", func(s *errorStore) error { return s.UpdateLayerIDMap("none", nil, nil, "") }, unknown, "changing the owners in layer none")),
		row("change owners who are not in the mapping", func(s *errorStore) error {
			must(s.T, os.Lchown(s.in("diff/base/f"), 7, 7))
			return s.UpdateLayerIDMap("child", few, nil, "")
		}, nil, "changing the owners in layer child", "HOME/mnt/child/f"),
		harmless(row("share blocks", func(s *errorStore) error {
			_, err := s.Dedup(graphdriver.DedupArgs{})
			return err
		}, []error{graphdriver.ErrNotSupported})),
	}
}

// removingErrors are the errors of Remove.
func removingErrors() []errorText {
	return []errorText{
		{
			name: "remove a busy layer", words: []string{"removing layer child", "HOME/mnt/child", "process"}, is: []error{unix.EBUSY},
			provoke: func(s *errorStore) error {
				s.held("child")
				return s.Remove("child")
			},
		},
		{
			name: "remove a layer whose directory is a mount point", words: []string{"removing layer child", "HOME/diff/child"}, is: []error{unix.EBUSY},
			provoke: func(s *errorStore) error {
				s.mountTmpfs(s.in("diff/child"))
				return s.Remove("child")
			},
		},
		{
			name: "remove a bad name", words: []string{"removing layer", `"a/b"`}, provoke: func(s *errorStore) error { return s.Remove("a/b") }, harmless: true,
		},
	}
}

// stopped returns a context that has ended.
func stopped() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
}

// maintenanceErrors are the errors of Check, Repair, Convert and Unmount.
func maintenanceErrors() []errorText {
	nowhere := func(s *errorStore) string { return filepath.Join(filepath.Dir(s.home), "none") }
	check := func(home string) error {
		_, err := Check(context.Background(), home)
		return err
	}
	repair := func(home string) error {
		_, err := Repair(context.Background(), home)
		return err
	}
	return []errorText{
		{
			name: "check what is no store", words: []string{"checking", "DIR/none"}, is: []error{fs.ErrNotExist},
			provoke: func(s *errorStore) error { return check(nowhere(s)) }, harmless: true,
		},
		{
			name: "repair what is no store", words: []string{"repairing", "DIR/none"}, is: []error{fs.ErrNotExist},
			provoke: func(s *errorStore) error { return repair(nowhere(s)) }, harmless: true,
		},
		{
			name: "convert what is no store", words: []string{"converting", "DIR/none"}, is: []error{fs.ErrNotExist},
			provoke: func(s *errorStore) error { return Convert(context.Background(), nowhere(s)) }, harmless: true,
		},
		{
			name: "check with a mount point in the way", words: []string{"checking", "HOME/layers"}, is: []error{unix.EXDEV},
			provoke: func(s *errorStore) error {
				s.mountTmpfs(s.in("layers"))
				return check(s.home)
			},
		},
		{
			name: "convert a mounted layer", only: backend.Overlay, words: []string{"converting layer child", "HOME/mnt/child"}, is: []error{unix.EBUSY},
			provoke: func(s *errorStore) error {
				s.mounted("child")
				return Convert(context.Background(), s.home)
			},
		},
		{
			name: "convert a layer that is mounted elsewhere", only: backend.Overlay, words: []string{"converting layer child", "HOME/mnt/child", "process"},
			is: []error{unix.EBUSY},
			provoke: func(s *errorStore) error {
				s.mounted("child")
				s.keepElsewhere()
				must(s.T, s.Put("child"))
				return Convert(context.Background(), s.home)
			},
		},
		{
			name: "check and stop", words: []string{"checking the store HOME"}, is: []error{context.Canceled},
			provoke: func(s *errorStore) error {
				_, err := Check(stopped(), s.home)
				return err
			},
		},
		{
			name: "repair and stop", words: []string{"repairing the store HOME"}, is: []error{context.Canceled},
			provoke: func(s *errorStore) error {
				_, err := Repair(stopped(), s.home)
				return err
			},
		},
		{
			name: "convert and stop", only: backend.Overlay, words: []string{"converting the store HOME"}, is: []error{context.Canceled},
			provoke: func(s *errorStore) error { return Convert(stopped(), s.home) },
		},
		{
			name: "convert a name that is too long for aufs", only: backend.Overlay, words: []string{"converting layer child", "HOME/diff/child/NAME"}, is: []error{unix.ENAMETOOLONG},
			provoke: func(s *errorStore) error {
				write(s.T, s.in("diff/base"), files{tooLong: ""})
				must(s.T, os.Remove(filepath.Join(s.mounted("child"), tooLong)))
				must(s.T, s.Put("child"))
				return Convert(context.Background(), s.home)
			},
		},
		{
			name: "convert the deletion of a name of aufs", only: backend.Overlay, words: []string{"converting layer child", "HOME/diff/child/.wh..opq"},
			provoke: func(s *errorStore) error {
				s.deleteOnOverlay("child", ".wh..opq")
				return Convert(context.Background(), s.home)
			},
		},
		{
			name: "unmount a busy mount", words: []string{"unmount", "HOME/mnt/child", "process"}, is: []error{unix.EBUSY},
			provoke: func(s *errorStore) error {
				s.held("child")
				return Unmount(s.in("mnt/child"))
			},
		},
	}
}
