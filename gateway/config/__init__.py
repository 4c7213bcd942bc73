"""What connector files and mapping tables may say. Pure: reads files, no network and no clock."""
