// Package types has the shapes of answers.
package types

// Names of states, modes and protocols.
type (
	DesiredStatus     string
	HealthStatus      string
	NetworkMode       string
	TransportProtocol string
)

// Those that Traefik looks for.
const (
	DesiredStatusRunning  DesiredStatus     = "RUNNING"
	HealthStatusHealthy   HealthStatus      = "HEALTHY"
	HealthStatusUnhealthy HealthStatus      = "UNHEALTHY"
	NetworkModeAwsvpc     NetworkMode       = "awsvpc"
	TransportProtocolTcp  TransportProtocol = "tcp"
)

// Attachment is a network.
type Attachment struct{}

// NetworkInterface has addresses.
type NetworkInterface struct {
	PrivateIpv4Address *string
	Ipv6Address        *string
}

// NetworkBinding leads from a port to a port.
type NetworkBinding struct {
	HostPort      *int32
	ContainerPort *int32
	Protocol      TransportProtocol
}

// PortMapping is a binding that is wanted.
type PortMapping struct {
	HostPort      *int32
	ContainerPort *int32
	Protocol      TransportProtocol
}

// Container runs.
type Container struct {
	Name              *string
	NetworkInterfaces []NetworkInterface
	NetworkBindings   []NetworkBinding
}

// ContainerDefinition is a container that is wanted.
type ContainerDefinition struct {
	Name         *string
	PortMappings []PortMapping
	DockerLabels map[string]string
}

// ContainerInstance is where containers run.
type ContainerInstance struct {
	ContainerInstanceArn *string
	Ec2InstanceId        *string
}

// Task is a group of containers.
type Task struct {
	TaskArn              *string
	TaskDefinitionArn    *string
	ContainerInstanceArn *string
	Group                *string
	LastStatus           *string
	HealthStatus         HealthStatus
	Attachments          []Attachment
	Containers           []Container
}

// TaskDefinition is a group that is wanted.
type TaskDefinition struct {
	NetworkMode          NetworkMode
	ContainerDefinitions []ContainerDefinition
}
