//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	"golang.org/x/sys/unix"
)

// The device mapper's target log-writes logs everything that is sent to a disk, in the order in which a disk with a cache makes it
// permanent: a write becomes permanent with the next flush (Documentation/admin-guide/device-mapper/log-writes.rst and
// drivers/md/dm-log-writes.c of the kernel). After a power cut, the disk has what the log has at that time.

// A dmCall is the number of a device mapper call (<linux/dm-ioctl.h>).
type dmCall uintptr

const (
	dmCreate       dmCall = 3
	dmRemove       dmCall = 4
	dmResume       dmCall = 6 // DM_DEV_SUSPEND, without the flag
	dmTableLoad    dmCall = 9
	dmListVersions dmCall = 13
	dmMessage      dmCall = 14
)

// dmHeader is struct dm_ioctl.
type dmHeader struct {
	Version                          [3]uint32
	DataSize, DataStart, TargetCount uint32
	OpenCount                        int32
	Flags, EventNr, Padding          uint32
	Dev                              uint64
	Name                             [128]byte
	UUID                             [129]byte
	Data                             [7]byte
}

// dmBuffer is the largest size of a call's input and output.
const dmBuffer = 16 << 10

// dm makes a call on the device name, with data after the header. It returns the header and the data that the kernel returns.
func dm(call dmCall, name string, targets int, data []byte) (dmHeader, []byte, error) {
	header := dmHeader{Version: [3]uint32{4, 0, 0}, DataSize: dmBuffer, TargetCount: uint32(targets)}
	header.DataStart = uint32(unsafe.Sizeof(header))
	copy(header.Name[:], name)
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, &header); err != nil {
		return header, nil, err
	}
	buffer := make([]byte, dmBuffer)
	copy(buffer[copy(buffer, b.Bytes()):], data)
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return header, nil, err
	}
	defer control.Close()
	const dmMagic = 0xfd
	request := uintptr(3)<<30 | unsafe.Sizeof(header)<<16 | dmMagic<<8 | uintptr(call)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&buffer[0]))); errno != 0 {
		return header, nil, fmt.Errorf("device mapper, call %d: %w", call, errno)
	}
	err = binary.Read(bytes.NewReader(buffer), binary.NativeEndian, &header)
	return header, buffer[header.DataStart:], err
}

// hasLogWrites reports whether the kernel has the target log-writes.
func hasLogWrites(t *testing.T) bool {
	t.Helper()
	_, versions, err := dm(dmListVersions, "", 0, nil)
	if errors.Is(err, os.ErrNotExist) {
		return false
	}
	must(t, err)
	return bytes.Contains(versions, []byte("log-writes\x00"))
}

// A logged is a disk whose writes are all logged. base has the disk's content from before the log.
type logged struct {
	*disk
	base, log *disk
	name      string
	marks     int
}

// newLogged mounts d, which must not be mounted, so that all writes to it are logged.
func newLogged(t *testing.T, d *disk) *logged {
	t.Helper()
	l := &logged{disk: d, base: d.copy(t), name: fmt.Sprintf("aufs-test-%d", os.Getpid())}
	l.log = &disk{image: filepath.Join(t.TempDir(), "log")}
	must(t, os.WriteFile(l.log.image, nil, 0o600))
	must(t, os.Truncate(l.log.image, 256<<20))
	data, err := storetest.Attach(d.image)
	must(t, err)
	defer data.Close()
	log, err := storetest.Attach(l.log.image)
	must(t, err)
	defer log.Close()
	info, err := os.Stat(d.image)
	must(t, err)
	created, _, err := dm(dmCreate, l.name, 0, nil)
	must(t, err)
	t.Cleanup(func() { _, _, _ = dm(dmRemove, l.name, 0, nil) }) // after a failure
	// This is struct dm_target_spec, followed by the target's arguments.
	var spec bytes.Buffer
	target := [16]byte{}
	copy(target[:], "log-writes")
	for _, field := range []any{uint64(0), uint64(info.Size() / 512), int32(0), uint32(0), target, []byte(data.Name() + " " + log.Name() + "\x00")} {
		must(t, binary.Write(&spec, binary.NativeEndian, field))
	}
	_, _, err = dm(dmTableLoad, l.name, 1, spec.Bytes())
	must(t, err)
	_, _, err = dm(dmResume, l.name, 0, nil)
	must(t, err)
	must(t, unix.Mount(fmt.Sprintf("/dev/dm-%d", unix.Minor(created.Dev)), d.dir, "ext4", 0, d.options))
	t.Cleanup(func() { _ = unix.Unmount(d.dir, unix.MNT_DETACH) }) // after a failure
	return l
}

// cut marks this time in the log as a power cut.
func (l *logged) cut(t *testing.T) {
	t.Helper()
	message := append(make([]byte, 8), fmt.Sprintf("mark %d\x00", l.marks)...)
	_, _, err := dm(dmMessage, l.name, 0, message)
	must(t, err)
	l.marks++
}

// disks unmounts the disk, and returns a disk for each power cut, in order.
func (l *logged) disks(t *testing.T) []*disk {
	t.Helper()
	must(t, mountutil.UnmountRetry(l.dir))
	_, _, err := dm(dmRemove, l.name, 0, nil)
	must(t, err)
	log, err := os.Open(l.log.image)
	must(t, err)
	defer log.Close()
	now, err := os.OpenFile(l.base.image, os.O_RDWR, 0)
	must(t, err)
	defer now.Close()
	at := func(offset int64, what any) {
		t.Helper()
		buffer := make([]byte, binary.Size(what))
		_, err := log.ReadAt(buffer, offset)
		must(t, err)
		must(t, binary.Read(bytes.NewReader(buffer), binary.LittleEndian, what))
	}
	var super struct {
		Magic, Version, Entries uint64
		SectorSize              uint32
	}
	at(0, &super)
	if super.Magic != 0x6a736677736872 || super.Version != 1 {
		t.Fatalf("this is no log: %+v", super)
	}
	size := int64(super.SectorSize)
	var cuts []*disk
	written := 0
	for offset := size; super.Entries > 0; super.Entries-- {
		var entry struct{ Sector, Sectors, Flags, DataLen uint64 }
		const discardFlag, markFlag = 1 << 2, 1 << 3
		at(offset, &entry)
		offset += size
		switch {
		case entry.Flags&markFlag != 0:
			if len(cuts) < l.marks {
				cuts = append(cuts, l.base.copy(t))
			}
		case entry.Flags&discardFlag != 0:
			t.Fatal("the file system has discarded blocks, and nobody told it to")
		default:
			content := make([]byte, int64(entry.Sectors)*size)
			_, err := log.ReadAt(content, offset)
			must(t, err)
			_, err = now.WriteAt(content, int64(entry.Sector)*size)
			must(t, err)
			written++
		}
		offset += int64(entry.Sectors) * size
	}
	if len(cuts) != l.marks || written == 0 {
		t.Fatalf("the log has %d of %d marks, and %d writes", len(cuts), l.marks, written)
	}
	return cuts
}
