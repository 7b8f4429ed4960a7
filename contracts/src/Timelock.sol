// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

/// @title The wait between a vote and its effect
/// @notice It is `Params.governor` and the protocol's treasury. Anybody can execute what waited long enough. It begins without a proposer: its administrator makes {OpenGovernor} the only one, with the right to
/// cancel, and renounces.
contract Timelock is TimelockController {
    constructor(uint256 delay, address admin) TimelockController(delay, new address[](0), _anybody(), admin) {}

    function _anybody() private pure returns (address[] memory executors) {
        executors = new address[](1);
    }
}
