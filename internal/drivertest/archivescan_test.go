//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/archive"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
)

// TestArchiveScanSparse scans a file with holes, as GNU tar writes it. The file's size is not the size of its data in
// the archive.
func TestArchiveScanSparse(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// The content begins with a block that says where the data is. The standard library does not write GNU.sparse
	// records, so the test writes others and renames them.
	content := "1\n5\n3\n" + strings.Repeat("\x00", 506) + "abc"
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/a", Size: int64(len(content)), Mode: 0o644, PAXRecords: map[string]string{
		"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.name": "a", "XXX.sparse.realsize": "8000",
	}}))
	_, err := io.WriteString(w, content)
	must(t, errors.Join(err, entry{Name: "b", Content: "12345"}.Write(w), w.Close()))
	sparse := bytes.ReplaceAll(b.Bytes(), []byte("XXX.sparse."), []byte("GNU.sparse."))
	dir := t.TempDir()
	scan := layertar.NewScan(bytes.NewReader(sparse))
	must(t, archive.Unpack(scan, dir, &archive.TarOptions{NoLchown: true}))
	if got := scan.Contents(); got.Size != 8005 || got.Unclear {
		t.Errorf("size %d, unclear %v", got.Size, got.Unclear)
	}
	if size, err := unpack.Finish(dir, &idmap.Mappings{}, nil); err != nil || size != 8005 {
		t.Errorf("%d bytes are there, %v", size, err)
	}
}

// TestArchiveScanRandom compares what a Scan finds in an archive's headers with what a look at all unpacked files
// finds. The archives have few names, which occur twice, as files, directories, links and whiteouts, and above each
// other.
func TestArchiveScanRandom(t *testing.T) {
	known, unclear := 0, 0
	for seed := range uint64(1000) {
		content := randomArchive(t, rand.New(rand.NewPCG(seed, 0)))
		dirs := [2]string{t.TempDir(), t.TempDir()}
		var contents *layertar.Contents
		var err error
		for _, dir := range dirs {
			scan := layertar.NewScan(bytes.NewReader(content))
			err = archive.Unpack(scan, dir, &archive.TarOptions{NoLchown: true})
			contents = scan.Contents()
		}
		if err != nil {
			// For example, the target of a link does not exist.
			continue
		}
		if contents.Unclear {
			unclear++
			continue
		}
		known++
		must(t, unpack.FinishMarked(dirs[0], contents.MarkedDirs(), nil))
		size, err := unpack.Finish(dirs[1], &idmap.Mappings{}, nil)
		must(t, err)
		if size != contents.Size {
			t.Errorf("by its headers it has %d bytes, and it has %d", contents.Size, size)
		}
		sameTree(t, timelessWhiteouts(readTree(t, dirs[0])), timelessWhiteouts(readTree(t, dirs[1])))
		if t.Failed() {
			t.Fatalf("the seed was %d", seed)
		}
	}
	if known < 75 || unclear < 75 {
		t.Errorf("%d archives were clear, %d were unclear", known, unclear)
	}
}

// timelessWhiteouts removes the times of whiteouts from a tree.
func timelessWhiteouts(tr tree) tree {
	for name, node := range tr {
		if strings.HasPrefix(path.Base(name), whiteout.Prefix) {
			tr[name] = node[:strings.LastIndex(node, " ")]
		}
	}
	return tr
}

// randomArchive returns a random archive. Its symbolic links stay inside.
func randomArchive(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	name := func() string {
		name := ""
		for range 1 + r.IntN(3) {
			name = path.Join(name, string(rune('a'+r.IntN(4))))
		}
		if r.IntN(6) == 0 {
			dir, base := path.Split(name)
			name = dir + whiteout.Prefix + base
		}
		return name
	}
	for i := range 1 + r.IntN(6) {
		h := &tar.Header{Name: name(), Mode: 0o755}
		content := ""
		switch r.IntN(6) {
		case 0:
			h.Typeflag = tar.TypeDir
		case 1:
			// The target is relative to the link's directory, and does not leave that directory.
			h.Typeflag, h.Linkname = tar.TypeSymlink, name()
		case 2:
			h.Typeflag, h.Linkname = tar.TypeLink, name()
		default:
			content = strings.Repeat("x", 1<<i)
			h.Typeflag, h.Size = tar.TypeReg, int64(len(content))
		}
		must(t, w.WriteHeader(h))
		_, err := io.WriteString(w, content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}
