package cpio

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample writes one entry of each kind.
func sample(w *Writer) error {
	return errors.Join(
		w.Dir("bin", 0o755),
		w.File("bin/hello", 0o755, 5, strings.NewReader("hello")),
		w.File("empty", 0o600, 0, strings.NewReader("")),
		w.Symlink("bin/hi", "hello"),
		w.Dir("tmp", 0o777|fs.ModeSticky),
		w.Close(),
	)
}

// TestWriterGolden compares with an archive that GNU cpio listed and unpacked
// without complaint.
func TestWriterGolden(t *testing.T) {
	var got bytes.Buffer
	if err := sample(NewWriter(&got)); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "sample.cpio"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got:\n%q\nwant:\n%q", got.Bytes(), want)
	}
}

func TestCharDevice(t *testing.T) {
	var b bytes.Buffer
	if err := NewWriter(&b).CharDevice("console", 0o600, 5, 1); err != nil {
		t.Fatal(err)
	}
	want := "070701" + "00000001" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" +
		"00000000" + "00000000" + "00000000" + "00000005" + "00000001" + "00000008" + "00000000" +
		"console\x00\x00\x00"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestFileErrors(t *testing.T) {
	tests := []struct {
		name    string
		size    int64
		content string
		want    error
	}{
		{"short", 6, "hello", io.EOF},
		{"negative", -1, "", nil},
		{"huge", 1 << 32, "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := NewWriter(io.Discard).File("f", 0o644, test.size, strings.NewReader(test.content))
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

func TestWriteError(t *testing.T) {
	r, w := io.Pipe()
	full := errors.New("full")
	if err := r.CloseWithError(full); err != nil {
		t.Fatal(err)
	}
	if err := NewWriter(w).Dir("d", 0o755); !errors.Is(err, full) {
		t.Errorf("got %v, want %v", err, full)
	}
}
