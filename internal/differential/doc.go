// Package differential compares a graph driver with a plain directory.
//
// A [Script] lists the operations that make a stack of layers. [Draw] makes up
// scripts, and [Parse] reads scripts that were kept. [Run] carries out a script
// twice, in the mounts of the driver's layers and in a plain directory, the
// model. It checks for each layer that
//
//   - its mount shows what the model has, at once and after a remount;
//   - its Diff, applied to another layer on the same parent, makes that layer
//     show the same;
//   - its Changes are the differences of the model from what it was before;
//   - the driver's other backend, where there is one, sees the same.
//
// At the end, Run opens the store anew, and checks the uppermost layer and its
// copy, or all layers if the store was converted.
//
// [Mix] has the two backends take turns at the mounts, has the store converted
// in between, and puts layers on read-only mounts while other layers are made
// on top of them.
//
// Times are numbers of operations: whatever an operation touches gets the
// operation's number, in seconds, as its time of modification in both places.
// So times can be compared as well.
package differential
