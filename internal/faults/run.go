//go:build linux && (amd64 || arm64)

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"golang.org/x/sys/unix"
)

// A Call is a system call that the program is about to make.
type Call struct {
	// N counts the calls that were held since Begin was told, from 0.
	N int
	// Name is the name of the system call.
	Name string
	// Paths are the paths that the call is about, as the program sees them. They are absolute where that can be told.
	Paths []string
	// Opens says that the call only opens an existing file, and changes nothing by that.
	Opens bool
}

// String returns the call roughly as strace(1) shows it.
func (c Call) String() string { return c.Name + "(" + strings.Join(c.Paths, ", ") + ")" }

// A Verdict says what becomes of a call.
type Verdict struct {
	kill  bool
	errno unix.Errno
}

var (
	// Continue lets the program make the call.
	Continue = Verdict{}
	// Kill kills the program and its children before the call is made.
	Kill = Verdict{kill: true}
)

// Fail makes the call fail with errno, and do nothing.
func Fail(errno unix.Errno) Verdict { return Verdict{errno: errno} }

// The program tells these stages. No call is held before Begin, or from End on.
const (
	Begin = "begin"
	End   = "end"
)

// tellPrefix begins the names of the files that Tell pretends to delete.
const tellPrefix = "\x01faults:"

// Tell tells the supervisor of this program how far the program is. Without a supervisor, it does nothing.
func Tell(name string) {
	// If the program is supervised, the call never reaches the kernel's file systems. If it is not, there is no such
	// file.
	_ = unix.Unlinkat(unix.AT_FDCWD, tellPrefix+name, 0)
}

// Works reports whether Run works on this kernel. Before Linux 5.5, a filter can make a call fail, but cannot let one go on for which a test has decided.
func Works() bool { return fsutil.KernelFrom(5, 5) }

// Need skips the test if Run does not work on this kernel.
func Need(t testing.TB) {
	t.Helper()
	if !Works() {
		t.Skip("this kernel's filters let no call go on that a test has held")
	}
}

// Run starts the program cmd, which must call Launch, asks decide what becomes of each of its calls, and waits until
// the program and its children are gone. The error wraps that of cmd.Wait, which is an
// *exec.ExitError if the program was killed.
func Run(cmd *exec.Cmd, decide func(Call) Verdict) error {
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(sockets[0]), "ours"), os.NewFile(uintptr(sockets[1]), "theirs")
	defer ours.Close()
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", launchVariable, 3+len(cmd.ExtraFiles)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	// The program gets a process group, so that it can be killed with its children.
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = theirs.Close() // it is the program's now
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	s := supervisor{decide: decide, group: cmd.Process.Pid}
	if s.listener, err = receive(int(ours.Fd())); err != nil {
		s.kill()
		return errors.Join(fmt.Errorf("faults: %w", err), cmd.Wait())
	}
	defer unix.Close(s.listener)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = s.serve(ended)
	if err != nil {
		s.kill()
		err = fmt.Errorf("faults: %w", err)
	}
	return errors.Join(err, s.ended)
}

// receive waits for the listener, and returns it.
func receive(socket int) (int, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	for {
		_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		messages, err := unix.ParseSocketControlMessage(rights[:n])
		if err != nil || len(messages) == 0 {
			return 0, errors.Join(err, errors.New("the program handed no listener over"))
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			return 0, err
		}
		return fds[0], nil
	}
}

// A supervisor answers the calls of one program.
type supervisor struct {
	listener, group int
	decide          func(Call) Verdict
	begun, over     bool
	next            int // the number of the next call
	// ended is the result of cmd.Wait.
	ended error
}

// notification and answer are struct seccomp_notif and struct seccomp_notif_resp of <linux/seccomp.h>.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// serve answers calls until the program and its children have ended. The kernel reports this as well, with POLLHUP; but
// before Linux 6.11 or so, it does so only once somebody has waited for all of them, and for an orphaned child perhaps
// nobody ever does.
func (s *supervisor) serve(ended <-chan error) error {
	waited := false
	for {
		select {
		case s.ended = <-ended:
			waited = true
		default:
		}
		if waited && !s.alive() {
			return nil
		}
		fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 5) // milliseconds
		switch {
		case errors.Is(err, unix.EINTR), n == 0:
			continue
		case err != nil:
			return err
		case fds[0].Revents&unix.POLLIN == 0:
			if !waited {
				s.ended = <-ended
			}
			return nil
		}
		var call notification
		err = s.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&call))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
			continue // the process has died since
		}
		if err == nil {
			err = s.answer(call)
		}
		if err != nil {
			return err
		}
	}
}

func (s *supervisor) ioctl(request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s.listener), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// answer decides about one call, and sends the answer.
func (s *supervisor) answer(n notification) error {
	a := answer{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	counted := false
	if call, held := s.describe(n); held {
		stage, isStage := strings.CutPrefix(filepath.Base(call.Paths[len(call.Paths)-1]), tellPrefix)
		switch {
		case isStage:
			s.begun, s.over = s.begun || stage == Begin, s.over || stage == End
			a.flags = 0
		case s.begun && !s.over:
			call.N, counted = s.next, true
			verdict := s.decide(call)
			if verdict.kill {
				s.kill()
				return nil
			}
			if verdict.errno != 0 {
				a.flags, a.errno = 0, -int32(verdict.errno)
			}
		}
	}
	err := s.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a))
	if errors.Is(err, unix.ENOENT) {
		// A signal came before the answer, and the call will come again; or its process is gone.
		return nil
	}
	if counted {
		s.next++
	}
	return err
}

// alive reports whether a process of the program's group is alive. A process that has ended, but that nobody has waited
// for, is not: it holds nothing any more.
func (s *supervisor) alive() bool {
	if err := unix.Kill(-s.group, 0); errors.Is(err, unix.ESRCH) {
		return false
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range processes {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // the process is gone
		}
		// The command, in parentheses, may contain anything: see proc(5).
		fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
		if len(fields) > 2 && fields[2] == strconv.Itoa(s.group) && fields[0] != "Z" && fields[0] != "X" {
			return true
		}
	}
	return false
}

func (s *supervisor) kill() { _ = unix.Kill(-s.group, unix.SIGKILL) }

// describe returns what a call is about, and reports whether the call is one to decide about.
func (s *supervisor) describe(n notification) (Call, bool) {
	k, ok := kindOf(uintptr(n.nr))
	if !ok {
		return Call{}, false
	}
	call := Call{Name: k.name}
	if k.flags > 0 {
		call.Opens = n.args[k.flags]&(unix.O_CREAT|unix.O_TRUNC|unix.O_TMPFILE&^unix.O_DIRECTORY) == 0
	}
	p := process(n.pid)
	for _, i := range k.at {
		call.Paths = append(call.Paths, p.pathAt(int32(n.args[i]), n.args[i+1]))
	}
	for _, i := range k.paths {
		call.Paths = append(call.Paths, p.pathAt(unix.AT_FDCWD, n.args[i]))
	}
	for _, i := range k.files {
		if k.content && !p.isRegular(int32(n.args[i])) {
			return Call{}, false
		}
		call.Paths = append(call.Paths, p.file(int32(n.args[i])))
	}
	if len(call.Paths) == 0 {
		call.Paths = []string{""}
	}
	return call, true
}

// A process is a process, or a thread, that waits in a call.
type process uint32

func (p process) proc(elem ...string) string {
	return filepath.Join(append([]string{"/proc", fmt.Sprint(uint32(p))}, elem...)...)
}

// file returns the path on which a file descriptor of the process is open.
func (p process) file(fd int32) string {
	link := p.proc("fd", fmt.Sprint(fd))
	if fd == unix.AT_FDCWD {
		link = p.proc("cwd")
	}
	path, err := os.Readlink(link)
	if err != nil {
		return "?"
	}
	return path
}

// isRegular reports whether a file descriptor is open on a regular file.
func (p process) isRegular(fd int32) bool {
	info, err := os.Stat(p.proc("fd", fmt.Sprint(fd)))
	return err == nil && info.Mode().IsRegular()
}

// pathAt returns the path at an address of the process. If it is relative, it begins at the directory dir.
func (p process) pathAt(dir int32, address uint64) string {
	path := p.text(address)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.file(dir), path)
}

// text returns the text at an address of the process, up to its NUL.
func (p process) text(address uint64) string {
	if address == 0 {
		return ""
	}
	f, err := os.Open(p.proc("mem"))
	if err != nil {
		return "?"
	}
	defer f.Close()
	// Unmapped memory may follow the text. ReadAt then reads less.
	content := make([]byte, unix.PathMax)
	n, _ := f.ReadAt(content, int64(address))
	text, _, _ := bytes.Cut(content[:n], []byte{0})
	return string(text)
}
