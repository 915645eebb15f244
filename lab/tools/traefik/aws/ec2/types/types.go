// Package types has the shapes of answers.
package types

// InstanceStateName is a state.
type InstanceStateName string

// InstanceStateNameRunning is the one that Traefik looks for.
const InstanceStateNameRunning InstanceStateName = "running"

// InstanceState has a state's name.
type InstanceState struct {
	Name InstanceStateName
}

// Instance is a machine.
type Instance struct {
	InstanceId       *string
	PrivateIpAddress *string
	State            *InstanceState
}

// Reservation is what machines are listed by.
type Reservation struct {
	Instances []Instance
}
