mod dashboard;
mod fixture;
mod keys;
mod screens;
