//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/containers/storage/pkg/archive"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/storagelib"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

func unpackAll(r io.Reader, dir string) error {
	scan := layertar.NewScan(r)
	defer scan.Contents()
	return unpack.Archive(scan, dir, layertar.UnpackOptions{Mappings: &idmap.Mappings{}}, &kept.Keeper{Root: dir, Dir: dir + "-kept", Names: &scan.Seen.Names}, unpack.Extractor{InThread: storagelib.Unpack, InChild: storagelib.UnpackInChild})
}

// rootsOfThreads returns the root directories of all threads of this process.
func rootsOfThreads(t *testing.T) map[string]bool {
	t.Helper()
	links, err := filepath.Glob("/proc/self/task/*/root")
	must(t, err)
	roots := map[string]bool{}
	for _, link := range links {
		// A thread may end meanwhile.
		if root, err := os.Readlink(link); err == nil {
			roots[root] = true
		}
	}
	return roots
}

// rootOnlyHere fails the test if a thread still has a root directory of its own.
func rootOnlyHere(t *testing.T) {
	t.Helper()
	roots := rootsOfThreads(t)
	for end := time.Now().Add(10 * time.Second); len(roots) != 1 && time.Now().Before(end); roots = rootsOfThreads(t) {
		time.Sleep(time.Millisecond) // a thread takes a moment to end
	}
	if len(roots) != 1 || !roots["/"] {
		t.Errorf("the threads have the root directories %v", roots)
	}
}

// TestInRoot gives many threads root directories of their own at once, and checks what each sees, and what the rest of
// the process sees afterwards.
func TestInRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	outside, err := os.ReadDir("/")
	must(t, err)
	work, err := os.Getwd()
	must(t, err)
	var all sync.WaitGroup
	for i := range 50 {
		all.Add(1)
		go func() {
			defer all.Done()
			name := fmt.Sprint(i)
			root := filepath.Join(dir, name)
			ended, err := unpack.InRoot(root, func() error { return nil })
			if !errors.Is(err, os.ErrNotExist) || ended != nil {
				t.Errorf("without a directory: %v", err)
			}
			if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
				t.Error(err)
				return
			}
			ended, err = unpack.InRoot(root, func() error {
				if unix.Gettid() == unix.Getpid() {
					t.Error("it is the first thread")
				}
				for _, path := range []string{"/", ".", "../..", "/" + name + "/.."} {
					entries, err := os.ReadDir(path)
					if err != nil || len(entries) != 1 || entries[0].Name() != name {
						t.Errorf("%s is %v, %v", path, entries, err)
					}
				}
				unix.Umask(0o777)
				return os.WriteFile("/made", nil, 0o644)
			})
			if err == nil {
				err = <-ended
			}
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(filepath.Join(root, "made")); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	for range 50 {
		after, err := os.ReadDir("/")
		must(t, err)
		if len(after) != len(outside) {
			t.Errorf("/ has %v", after)
		}
	}
	if now, err := os.Getwd(); err != nil || now != work {
		t.Errorf("the working directory is %s, %v", now, err)
	}
	made := filepath.Join(dir, "made")
	must(t, os.WriteFile(made, nil, 0o600))
	if info, err := os.Lstat(made); err != nil || info.Mode() != 0o600 {
		t.Errorf("the umask is another one: %v, %v", info.Mode(), err)
	}
	rootOnlyHere(t)
}

func TestInRootPanic(t *testing.T) {
	needRoot(t)
	ended, err := unpack.InRoot(t.TempDir(), func() error { panic("of the archive") })
	must(t, err)
	if err := <-ended; err == nil || err.Error() != "panic: of the archive" {
		t.Errorf("it became %v", err)
	}
	rootOnlyHere(t)
}

// reopening reads an archive from a file, which it opens again, by its path, for each part.
type reopening struct {
	path string
	at   int64
	last bool
}

func (r *reopening) Read(p []byte) (int, error) {
	f, err := os.Open(r.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.ReadAt(p[:min(len(p), 3000)], r.at)
	r.at += int64(n)
	r.last = errors.Is(err, io.EOF)
	return n, err
}

// TestUnpackReader checks that the archive's reader runs where the caller is, not where the archive is unpacked, and is
// read to its end.
func TestUnpackReader(t *testing.T) {
	needRoot(t)
	content := archiveBytes(t, entry{Name: "a", Content: string(testContent(2 * layertar.Chunk))}, entry{Name: "b", Content: "b"})
	path := filepath.Join(t.TempDir(), "archive")
	// An archive may have more blocks at its end than it needs.
	must(t, os.WriteFile(path, append(content, make([]byte, layertar.Chunk)...), 0o600))
	dir := t.TempDir()
	r := &reopening{path: path}
	must(t, unpackAll(r, dir))
	sameNames(t, readTree(t, dir).Names(), "a", "b")
	if !r.last {
		t.Error("it was not read to its end")
	}
}

// TestUnpackInNamespace unpacks for a caller on a thread of its own, which sees other mounts than the rest of the
// process.
func TestUnpackInNamespace(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	ended := make(chan error)
	var here tree
	go fsutil.OnOtherThread(func() {
		ended <- func() error {
			err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
			if err == nil {
				err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
			}
			if err == nil {
				err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
			}
			if err == nil {
				err = unpackAll(archiveOf(t, entry{Name: "f"}), dir)
			}
			here = readTree(t, dir)
			return err
		}()
	})
	must(t, <-ended)
	sameNames(t, here.Names(), "f")
	sameNames(t, readTree(t, dir).Names())
}

// TestUnpackFails checks errors of the archive's reader, and errors in the archive, after which the rest of it must be
// read.
func TestUnpackFails(t *testing.T) {
	needRoot(t)
	failure := errors.New("failure")
	content := archiveBytes(t, entry{Name: "a", Content: string(testContent(3 * layertar.Chunk))}, entry{Name: "b", Content: "b"})
	err := unpackAll(io.MultiReader(bytes.NewReader(content[:layertar.Chunk]), iotest.ErrReader(failure)), t.TempDir())
	wants(t, err, failure)
	broken := bytes.Clone(content)
	clear(broken[:512])
	broken[0] = 'x'
	for name, r := range map[string]io.Reader{
		"broken": bytes.NewReader(broken),
		// A link whose target does not exist.
		"impossible": bytes.NewReader(append(packed(t, member{Name: "l", Linkname: "none", Typeflag: '1'})[:512], content...)),
	} {
		err := unpackAll(r, t.TempDir())
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if rest, rerr := io.ReadAll(r); rerr != nil || len(rest) > 0 {
			t.Errorf("%s: %d bytes were not read, %v; %v", name, len(rest), rerr, err)
		}
	}
	err = unpackAll(io.MultiReader(bytes.NewReader(broken), iotest.ErrReader(failure)), t.TempDir())
	wants(t, err, failure, "invalid tar header")
	rootOnlyHere(t)
}

// TestUnpackCutShort unpacks an archive that ends between two files, where its reader returns an error that wraps
// io.EOF.
func TestUnpackCutShort(t *testing.T) {
	needRoot(t)
	for _, size := range []int{1, 2 * unpack.FirstLook} {
		whole := archiveBytes(t, entry{Name: "a", Content: string(testContent(size))}, entry{Name: "b"})
		cut := fmt.Errorf("the connection is lost: %w", io.EOF)
		r := io.MultiReader(bytes.NewReader(whole[:512+(size+511)/512*512]), iotest.ErrReader(cut))
		wants(t, unpackAll(r, t.TempDir()), cut)
	}
	// The packages in compress return this error.
	wants(t, unpackAll(iotest.ErrReader(io.ErrUnexpectedEOF), t.TempDir()), io.ErrUnexpectedEOF)
}

// TestUnpackReaderPanics checks that the caller can recover from a panic of the archive's reader.
func TestUnpackReaderPanics(t *testing.T) {
	needRoot(t)
	content := archiveBytes(t, entry{Name: "a", Content: string(testContent(2 * unpack.FirstLook))})
	func() {
		defer func() {
			if p := recover(); p != "of the reader" {
				t.Errorf("the panic was %v", p)
			}
		}()
		r, w := layertar.NewChunkPipe()
		unpacked, err := unpack.InRoot(t.TempDir(), func() error { return archive.Unpack(r, "/", &archive.TarOptions{}) })
		must(t, err)
		_ = unpack.Feed(io.MultiReader(bytes.NewReader(content[:unpack.FirstLook]), storetest.Panicking{}), w, unpacked, nil)
	}()
	rootOnlyHere(t)
}

// lateLog is a log that opens its file only when something is logged.
type lateLog struct{ path string }

func (l lateLog) Write(p []byte) (int, error) {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(p)
}

// TestUnpackLogs checks what the library logs about an archive: no log may get into the layer, and no log may have a
// line for each of thousands of files.
func TestUnpackLogs(t *testing.T) {
	needRoot(t)
	header := &tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, PAXRecords: map[string]string{layertar.PaxXattr + "com.example.a": "v"}}
	// In late, the attribute comes after the part that is looked at first.
	early, late := headersOf(t, header), headersOf(t, &tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 2 * unpack.FirstLook}, header)
	logger := logrus.StandardLogger()
	defer logrus.SetOutput(logger.Out)
	file, err := os.Create(filepath.Join(t.TempDir(), "open"))
	must(t, err)
	defer file.Close()
	for name, content := range map[string][]byte{"early": early, "late": late} {
		for _, out := range []io.Writer{file, lateLog{filepath.Join(t.TempDir(), "log")}} {
			logrus.SetOutput(out)
			dir := t.TempDir()
			must(t, unpackAll(bytes.NewReader(content), dir))
			if names := readTree(t, dir).Names(); slices.ContainsFunc(names, func(name string) bool { return name != "a" && name != "f" }) {
				t.Errorf("%s: there are %v", name, names)
			}
		}
		info, err := file.Stat()
		must(t, err)
		if name == "early" && info.Size() > 0 {
			t.Errorf("something was logged")
		}
		must(t, file.Truncate(0))
	}
	rootOnlyHere(t)
}

func TestLogsToFile(t *testing.T) {
	logger := logrus.New()
	if !unpack.LogsToFile(logger) {
		t.Error("the standard error is no file")
	}
	logger.SetOutput(io.Discard)
	if !unpack.LogsToFile(logger) {
		t.Error("a log that goes nowhere looks up paths")
	}
	logger.SetOutput(lateLog{})
	if unpack.LogsToFile(logger) {
		t.Error("a writer is a file")
	}
	logger = logrus.New()
	logger.AddHook(&hook{})
	if unpack.LogsToFile(logger) {
		t.Error("a hook is a file")
	}
}

type hook struct{}

func (*hook) Levels() []logrus.Level   { return logrus.AllLevels }
func (*hook) Fire(*logrus.Entry) error { return nil }

// TestUnpackKeepsLittle unpacks directories with long records, which the library keeps in memory to the end.
func TestUnpackKeepsLittle(t *testing.T) {
	needRoot(t)
	// The standard library's limit for a record is a megabyte.
	const size = 1000_000
	directory := headersOf(t, &tar.Header{
		Typeflag: tar.TypeDir, Name: "d/", Mode: 0o755, PAXRecords: map[string]string{"X.c": strings.Repeat("v", size)},
	})
	directory = directory[:len(directory)-1024]
	times := func(n int) io.Reader {
		readers := make([]io.Reader, n)
		for i := range readers {
			readers[i] = bytes.NewReader(directory)
		}
		return io.MultiReader(readers...)
	}
	must(t, unpackAll(times(3), t.TempDir()))
	wants(t, unpackAll(times(layertar.MostKept/size+2), t.TempDir()), layertar.ErrTooMuchKept)
	rootOnlyHere(t)
}
