mod acpi;
mod native;
mod resources;
