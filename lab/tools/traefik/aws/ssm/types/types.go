// Package types has the shapes of questions and answers.
package types

// InstanceInformationStringFilter chooses instances.
type InstanceInformationStringFilter struct {
	Key    *string
	Values []string
}

// InstanceInformation is a machine.
type InstanceInformation struct {
	InstanceId *string
	IPAddress  *string
}
