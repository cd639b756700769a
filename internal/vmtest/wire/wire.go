// Package wire defines what the host and the guest of a vmtest send each other.
//
// The host puts a Plan into the guest's initramfs. The guest answers over a
// virtio-serial port, by Messages, one JSON value a line. There is one port for
// all of them. With one more for each Suite, a machine with more than fourteen
// suites hung: QEMU drops control messages about ports when there are more than
// 32 at a time, and a write to a port that it has not announced as open blocks.
package wire

import "time"

// MessagesPort is the name of the virtio-serial port for Messages.
const MessagesPort = "vmtest.messages"

// Paths in the guest.
const (
	PlanPath   = "/plan.json"
	TestDir    = "/pkg"   // holds the working directory of each suite
	ImagePath  = "/image" // an OCI layout, for the tests with real images
	ModulesDir = "/modules"
	IntreePath = "/bin/intree"
	OursPath   = "/bin/ours" // intree with this module's driver
	InputPath  = "/input.tar"
	TmpDir     = "/tmp" // on the file system under test
	SystemDir  = "/system"
)

// BenchPrograms returns the paths in the guest of the programs with benchmarks.
func BenchPrograms() []string {
	return []string{"/bin/bench-ours", "/bin/bench-intree", "/bin/bench-podman"}
}

// Announcements that the guest, or a test, writes to /dev/kmsg, and that the host
// finds on the console. aufs and overlayfs write a complaint there when a
// program asks for something wrong. Between AnnounceExpect and AnnounceExpectNone, the
// host accepts such complaints if they contain the text of the AnnounceExpect.
const (
	AnnounceTest       = "vmtest: test "           // followed by a test and its suite, an example and its backend, or a benchmark
	AnnounceExpect     = "vmtest: expect message " // followed by a text
	AnnounceExpectNone = "vmtest: expect no message"
)

// A Suite is the tests of one package, built into one binary in the guest.
type Suite struct{ Name string }

// Binary returns the path of the test binary in the guest.
func (s Suite) Binary() string { return "/bin/" + s.Name + ".test" }

// WorkDir returns the working directory of the tests in the guest. It holds the
// package's testdata.
func (s Suite) WorkDir() string { return TestDir + "/" + s.Name }

// A Program is a program that runs in the guest.
type Program struct{ Name string }

// Path returns the path of the program in the guest.
func (p Program) Path() string { return "/bin/" + p.Name }

// A Plan says what the guest does.
type Plan struct {
	Suites      []Suite       // to run, in this order
	Examples    []Program     // example programs to run after the suites, on each backend
	FS          string        // the file system of /dev/vda; "tmpfs": there is no disk
	Backends    []string      // those that the tests and the example must use
	Run         string        // the regular expression for -test.run; "" runs all
	TestTimeout time.Duration // for all suites together
	Sequences   int           // how many sequences the differential test runs on each backend
	Steps       string        // how many ways of interrupting each operation, or "all"
	Stress      time.Duration // how long each stress test takes on each backend
	Deny        []string      // names of faults.NewCalls that the tests and the examples have to do without
	Seed        uint64        // of the random sequences; 0: the time
	Bench       *Bench        // if not nil, the benchmarks to run instead of suites and examples
	System      *System       // if not nil, the command to run instead of suites and examples
}

// A Bench says how to run the benchmarks; Plan.Run says which.
type Bench struct {
	Time  string // how long each benchmark runs in each round
	Count int    // how many rounds there are
	Size  string // one of bench.Sizes
	// Profile asks for CPU profiles.
	Profile bool
}

// A System is an installed Linux system, in which the guest runs a command.
type System struct {
	Device  string // the disk with the system, an ext4
	Command string // for the shell
}

// A Message has exactly one of its fields set.
type Message struct {
	Kernel  *Kernel  `json:",omitempty"`
	Output  *Output  `json:",omitempty"` // a further part of a suite's output
	Tests   *Tests   `json:",omitempty"` // one suite has ended
	Example *Example `json:",omitempty"` // one run of the example has ended
	Results string   `json:",omitempty"` // a further part of the benchmarks' results
	News    string   `json:",omitempty"` // the progress of the benchmarks
	Profile *Profile `json:",omitempty"` // a CPU profile of a benchmark
	Bench   *Exit    `json:",omitempty"` // the benchmarks have ended
	Printed string   `json:",omitempty"` // a further part of what the command in the system prints
	Command *Exit    `json:",omitempty"` // the command in the system has ended
	Fatal   string   `json:",omitempty"` // why the guest gives up
	Done    bool     `json:",omitempty"` // the guest has carried out the plan
}

// A Kernel describes the guest's kernel.
type Kernel struct {
	Release     string
	Aufs        bool   // whether aufs can be mounted
	AufsVersion string // "" if the kernel doesn't say
	BranchLimit string // of one aufs mount, and how the guest found it; "" without aufs
}

// A Profile is a file for pprof.
type Profile struct {
	Name    string
	Content []byte
}

// An Exit is how a program ended.
type Exit struct {
	Error   string // "" if it succeeded
	Elapsed time.Duration
}

// An Output is a part of what a suite's test binary prints.
type Output struct {
	Suite string
	Text  []byte
}

// A Tests is one run of a suite.
type Tests struct {
	Suite string // its name
	Exit
}

// An Example is one run of the example program.
type Example struct {
	Name    string // of the program
	Backend string
	Output  string
	Exit
}
