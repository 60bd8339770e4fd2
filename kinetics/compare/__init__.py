"""Result files beside each other: across devices, or across commits on one device."""
